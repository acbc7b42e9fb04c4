/** Which of several API servers it is, as upstream's metrics of followed files say it: a hash, since host names may tell what they should not. */
import { createHash } from 'node:crypto';
import { hostname } from 'node:os';

/** A label of a scrape's lines. */
export const SERVER_ID_LABEL = `apiserver_id_hash="sha256:${createHash('sha256').update(hostname()).digest('hex')}"`;
