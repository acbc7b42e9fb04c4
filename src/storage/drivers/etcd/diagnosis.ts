/**
 * Why a member of etcd cannot be reached, as one clause that says what to do. gRPC only says that it is not connected, so a connection
 * is made once more, by hand. Not used while members answer.
 */
import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

const TIMEOUT_MS = 2_000;
/** What a client of HTTP/2 begins with: its preface, and empty settings. */
const HELLO = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', 'latin1');
const TLS_ALERT = 0x15;

interface TlsFiles {
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
}

interface Probed {
  readonly endpoint: string;
  readonly files: TlsFiles;
  readonly ca: Buffer | null;
  readonly cert: Buffer | null;
  readonly key: Buffer | null;
}

/** Undefined: it can be reached now. */
export async function whyUnreachable(probed: Probed): Promise<string | undefined> {
  const url = new URL(probed.endpoint);
  const isTls = url.protocol === 'https:';
  const outcome = await firstWord(isTls ? tlsSocket(url, probed) : plainSocket(url), !isTls);
  if (outcome instanceof Error) return isTls ? tlsProblem(outcome, probed) : plainProblem(outcome);
  if (!isTls && outcome[0] === TLS_ALERT) return 'it speaks TLS: its URL should begin with https://';
  return undefined;
}

function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, '');
}

function plainSocket(url: URL): Socket {
  return connectPlain({ host: hostOf(url), port: Number(url.port || 2379) });
}

function tlsSocket(url: URL, { ca, cert, key }: Probed): Socket {
  const host = hostOf(url);
  return connectTls({
    host,
    port: Number(url.port || 2379),
    ALPNProtocols: ['h2'],
    ...(ca && { ca }),
    ...(cert && { cert }),
    ...(key && { key }),
  });
}

/** Of TLS 1.3, a client certificate is refused only after the handshake: what the member sends first tells. */
function firstWord(socket: Socket, isPlain: boolean): Promise<Buffer | Error> {
  return new Promise((resolve) => {
    const over = (outcome: Buffer | Error): void => {
      socket
        .removeAllListeners()
        .on('error', () => {})
        .destroy();
      resolve(outcome);
    };
    socket.setTimeout(TIMEOUT_MS, () => over(Object.assign(new Error('timeout'), { code: 'ETIMEDOUT' })));
    socket.once('error', over);
    socket.once('data', over);
    socket.once('close', () => over(Object.assign(new Error('closed'), { code: 'ECONNRESET' })));
    socket.once(isPlain ? 'connect' : 'secureConnect', () => socket.write(HELLO));
  });
}

function plainProblem(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'ECONNREFUSED':
      return 'nothing listens there';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'its name has no address';
    case 'ETIMEDOUT':
      return 'it does not answer';
    case 'ECONNRESET':
      return 'it closes the connection: where it speaks TLS, its URL should begin with https://';
    default:
      return error.message;
  }
}

const UNTRUSTED: ReadonlySet<string> = new Set([
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'CERT_SIGNATURE_FAILURE',
]);

function tlsProblem(error: NodeJS.ErrnoException, { files }: Probed): string {
  const code = error.code ?? '';
  if (UNTRUSTED.has(code))
    return files.caFile
      ? `its certificate is not signed by the authority in ${files.caFile}: --etcd-cafile should be the authority that signed it`
      : 'its certificate is signed by a private authority: give its certificate with --etcd-cafile';
  if (code === 'CERT_HAS_EXPIRED') return 'its certificate has expired: renew it and restart the member';
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `its certificate is not for this address (${error.message}): use an address that it names, or issue it anew`;
  if (/wrong.version.number|packet.length.too.long/i.test(code + error.message))
    return 'it does not speak TLS: its URL should begin with http://';
  if (/ALERT|ECONNRESET/i.test(code) || /alert/i.test(error.message))
    return files.certFile
      ? `it refuses the client certificate ${files.certFile}: it should be signed by the authority in etcd's --trusted-ca-file, be for client authentication, and not be expired`
      : 'it wants a client certificate: give one with --etcd-certfile and --etcd-keyfile';
  return plainProblem(error);
}
