/** The opaque token of a paged list in upstream's format: the revision of the list and the key at which the next page starts. */
import { isStatusError, statusErrors } from '#machinery/errors.ts';
import { parseJson } from '#machinery/json.ts';

interface ContinueToken {
  /** -1 = whatever is current: the rest of a list whose revision was compacted away. */
  readonly revision: number;
  /** Relative to the listed prefix. */
  readonly startKey: string;
}

export function encodeContinue({ revision, startKey }: ContinueToken): string {
  return Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', rv: revision, start: startKey })).toString(
    'base64url',
  );
}

export function decodeContinue(text: string): ContinueToken {
  const json = base64(text);
  let token: unknown;
  try {
    token = parseJson(json);
  } catch (error) {
    throw isStatusError(error) ? invalid(error.message) : error;
  }
  if (typeof token !== 'object' || token === null) throw invalid('incorrect encoding');
  const { v, rv, start } = token as Record<string, unknown>;
  if (v !== 'meta.k8s.io/v1')
    throw invalid(`server does not recognize this encoded version ${typeof v === 'string' ? v : ''}`);
  if (typeof rv !== 'number' || !Number.isSafeInteger(rv) || rv === 0)
    throw invalid('incorrect encoded start resourceVersion (version meta.k8s.io/v1)');
  if (typeof start !== 'string' || start === '')
    throw invalid('encoded start key empty (version meta.k8s.io/v1)');
  const startKey = start.startsWith('/') ? start.slice(1) : start;
  // Keys outside the listed prefix are rejected.
  if (startKey !== '' && startKey.split('/').some((part) => part === '' || part === '.' || part === '..'))
    throw invalid(start);
  return { revision: rv, startKey };
}

/** Error texts of Go's raw URL-safe base64 decoder: the offset of the first invalid character or of a missing last one. */
function base64(text: string): string {
  const foreign = text.search(/[^A-Za-z0-9_-]/);
  if (foreign >= 0) throw invalid(`illegal base64 data at input byte ${foreign}`);
  if (text.length % 4 === 1) throw invalid(`illegal base64 data at input byte ${text.length - 1}`);
  return Buffer.from(text, 'base64url').toString();
}

function invalid(why: string): Error {
  return statusErrors.badRequest(`invalid continue token: continue key is not valid: ${why}`);
}
