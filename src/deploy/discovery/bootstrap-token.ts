/** A bootstrap token as people type it: 'abcdef.0123456789abcdef', an ID that is public and a secret. After upstream's k8s.io/cluster-bootstrap/token. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { UserError } from '../data-dir.ts';

const TOKEN = /^([a-z0-9]{6})\.([a-z0-9]{16})$/;

export interface BootstrapTokenParts {
  readonly id: string;
  readonly secret: string;
}

/** UserError for anything else, without repeating the input. */
export function parseBootstrapToken(text: string): BootstrapTokenParts {
  const [, id, secret] = TOKEN.exec(text) ?? [];
  if (id === undefined || secret === undefined)
    throw new UserError(
      'The token should be like abcdef.0123456789abcdef: six and sixteen small letters or digits.',
    );
  return { id, secret };
}

/**
 * Whether a detached JSON Web Signature (RFC 7515, appendix F) over the content was made with the token, by HMAC-SHA256. Other algorithms, and
 * other key IDs, are no.
 */
export function isSignedBy(
  { id, secret }: BootstrapTokenParts,
  { content, signature }: { readonly content: string; readonly signature: string },
): boolean {
  const [header = '', payload, mac = '', ...more] = signature.split('.');
  if (payload !== '' || more.length > 0 || !isExpectedHeader(header, id)) return false;
  const expected = createHmac('sha256', secret)
    .update(`${header}.${Buffer.from(content).toString('base64url')}`)
    .digest();
  const given = Buffer.from(mac, 'base64url');
  return given.length === expected.length && timingSafeEqual(given, expected);
}

function isExpectedHeader(header: string, id: string): boolean {
  try {
    const { alg, kid } = JSON.parse(Buffer.from(header, 'base64url').toString()) as Record<string, unknown>;
    return alg === 'HS256' && kid === id;
  } catch {
    return false;
  }
}
