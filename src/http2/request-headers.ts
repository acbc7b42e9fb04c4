/** The fields of one request's header block, validated by RFC 9113 section 8: malformed ones never reach the handler. */
import { MAX_HEADER_LIST_FACTOR } from './bounds.ts';
import { ConnectionError, ErrorCode } from './frames.ts';
import type { HeaderReceiver } from './hpack.ts';

/** Fields that belong to one connection and mean nothing here. */
const CONNECTION_FIELDS = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
]);
/** Of these the first counts, as with HTTP/1.1; all others are joined. */
const SINGLE_FIELDS = new Set([
  'authorization',
  'content-length',
  'content-type',
  'from',
  'host',
  'if-modified-since',
  'if-unmodified-since',
  'location',
  'max-forwards',
  'proxy-authorization',
  'referer',
  'user-agent',
]);
/** As HTTP/1.1: a field forwarded to other servers must not be read differently there. */
const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}$/;
const BAD_TARGET = /[\0-\x20\x7f]/;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
/** NUL, line ends; blanks around. */
const BAD_VALUE = /[\0\r\n]|^[ \t]|[ \t]$/;
const FIELD_BYTES = 32;

/** Reused from request to request of a connection; the headers it made are not. */
export class RequestHeaders implements HeaderReceiver {
  readonly #maxBytes: number;
  #bytes = 0;
  #malformed = false;
  #regular = false;
  #scheme = '';
  #authority: string | undefined;
  method = '';
  target = '';
  headers: Record<string, string | undefined> = {};
  /** Values one by one, of names that came more than once. */
  repeated: Map<string, string[]> | undefined;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  begin(): this {
    this.#bytes = 0;
    this.#malformed = this.#regular = false;
    this.#scheme = this.method = this.target = '';
    this.#authority = undefined;
    this.repeated = undefined;
    // A null prototype would hide no requested name, and objects of one shape are read faster.
    this.headers = {};
    return this;
  }

  field(name: string, value: string): void {
    this.#bytes += name.length + value.length + FIELD_BYTES;
    if (this.#bytes > this.#maxBytes) return this.#overflow();
    if (this.#malformed) return;
    if (name.charCodeAt(0) === 58) return this.#pseudo(name, value);
    this.#regular = true;
    if (!knownNames.has(name) && !isName(name)) this.#malformed = true;
    else if (CONNECTION_FIELDS.has(name) || (name === 'te' && value !== 'trailers') || BAD_VALUE.test(value))
      this.#malformed = true;
    else this.#set(name, value);
  }

  #overflow(): void {
    if (this.#bytes > this.#maxBytes * MAX_HEADER_LIST_FACTOR)
      throw new ConnectionError(ErrorCode.enhanceYourCalm, 'a header list far above its limit');
  }

  #set(name: string, value: string): void {
    const before = Object.hasOwn(this.headers, name) ? this.headers[name] : undefined;
    if (before === undefined) this.headers[name] = value;
    else if (name === 'content-length' && before !== value) this.#malformed = true;
    else if (!SINGLE_FIELDS.has(name)) {
      this.headers[name] = `${before}${name === 'cookie' ? '; ' : ', '}${value}`;
      const values = (this.repeated ??= new Map<string, string[]>()).get(name);
      if (values) values.push(value);
      else this.repeated.set(name, [before, value]);
    }
  }

  #pseudo(name: string, value: string): void {
    if (this.#regular || BAD_VALUE.test(value)) this.#malformed = true;
    else if (name === ':method' && this.method === '') this.method = value;
    else if (name === ':path' && this.target === '') this.target = value;
    else if (name === ':scheme' && this.#scheme === '') this.#scheme = value;
    else if (name === ':authority' && this.#authority === undefined) this.#authority = value;
    else this.#malformed = true;
  }

  /** Trailers have no pseudo fields; they are checked and dropped. */
  get isMalformedTrailer(): boolean {
    return (
      this.#malformed ||
      this.#bytes > this.#maxBytes ||
      `${this.method}${this.target}${this.#scheme}${this.#authority ?? ''}` !== ''
    );
  }

  /** undefined = a request. */
  problem(): 'malformed' | 'too-large' | undefined {
    if (this.#bytes > this.#maxBytes) return 'too-large';
    const isPath = this.target.startsWith('/') || (this.target === '*' && this.method === 'OPTIONS');
    if (
      this.#malformed ||
      !METHOD.test(this.method) ||
      this.#scheme === '' ||
      !isPath ||
      BAD_TARGET.test(this.target)
    )
      return 'malformed';
    const length = this.headers['content-length'];
    if (length !== undefined && !/^\d{1,15}$/.test(length)) return 'malformed';
    // Section 8.3.1: if both are present, Host must equal the authority.
    if (this.#authority) this.headers['host'] = this.#authority;
    return undefined;
  }
}

/** Names seen before, so that they are not looked through again. Full means: no more are remembered. */
const knownNames = new Set<string>();
const MAX_KNOWN_NAMES = 512;

function isName(name: string): boolean {
  if (!TOKEN.test(name)) return false;
  if (knownNames.size < MAX_KNOWN_NAMES && name.length < 64) knownNames.add(name);
  return true;
}
