/** Identifies one of several API servers, as upstream's metrics of reloaded files do: a hash, since host names may be confidential. */
import { createHash } from 'node:crypto';
import { hostname } from 'node:os';

/** A label of a scrape's lines. */
export const SERVER_ID_LABEL = `apiserver_id_hash="sha256:${createHash('sha256').update(hostname()).digest('hex')}"`;
