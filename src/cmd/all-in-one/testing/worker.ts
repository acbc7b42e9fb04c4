/** For worker-link.test.ts: a worker that starts at once, blocks its event loop on request, and cannot stop completely. */
import { workerEnd } from '../worker-link.ts';

const end = workerEnd<{ readonly leftover: string | undefined }>();

end.run(
  () => Promise.resolve(),
  async (reason) => {
    if (end.data.leftover !== undefined) throw new Error(`${end.data.leftover} (${reason})`);
  },
);
