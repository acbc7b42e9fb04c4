/** The program of the process that `worker.ts` describes. */
import { serveParent } from './worker.ts';

serveParent();
