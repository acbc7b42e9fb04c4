/**
 * The few calls of the GSS-API (RFC 2744) that SPNEGO needs, made to the system's MIT Kerberos library: accepting a client's token with a keytab,
 * and making one with a user's tickets. Calls that may wait for files or the network run on another thread, never on the event loop.
 */
import type { LibraryHandle } from 'koffi';
import { errorMessage } from '#stdx/log.ts';

/** Memory that the library owns. */
type Pointer = bigint | null;
interface GssBuffer {
  readonly length: number | bigint;
  readonly value: Pointer | Buffer;
}
type Box<T> = [T];
type Koffi = (typeof import('koffi'))['default'];

class GssError extends Error {
  override readonly name = 'GssError';
}

export interface Accepted {
  /** 'alice@EXAMPLE.COM' */
  readonly principal: string;
  /** For the client, which may want to know that this is the right server. */
  readonly answer: Buffer;
}

export interface Acceptor {
  /** token: the client's first and only one. Throws GssError with the library's words. */
  accept(token: Buffer): Promise<Accepted>;
}

const LIBRARY = 'libgssapi_krb5.so.2';
const COMPLETE = 0;
const CONTINUE_NEEDED = 1;
const ACCEPT = 2;
const MUTUAL_FLAG = 2;
const ANONYMOUS_FLAG = 64;
const ERROR_MASK = 0xffff0000;
const GSS_CODE = 1;
const MECH_CODE = 2;
const OIDS = {
  krb5: Buffer.from('2a864886f712010202', 'hex'),
  spnego: Buffer.from('2b0601050502', 'hex'),
  hostBasedService: Buffer.from('2a864886f71201020104', 'hex'),
} as const;

/** Throws a GssError for an unusable library or keytab. service: 'HTTP' or 'HTTP@host'. */
export async function openAcceptor({
  keytab,
  service,
}: {
  readonly keytab: string;
  readonly service: string;
}): Promise<Acceptor> {
  const gss = await loadLibrary();
  const name = gss.importName(service);
  const credential = gss.acquireAcceptor(name, `FILE:${keytab}`);
  return { accept: (token) => gss.accept(credential, token) };
}

/** The token with which a holder of tickets (kinit) introduces himself to service 'HTTP@host'. */
export async function initiate(service: string): Promise<Buffer> {
  const gss = await loadLibrary();
  return gss.initiate(gss.importName(service));
}

let library: Promise<Gss> | undefined;

function loadLibrary(): Promise<Gss> {
  return (library ??= Gss.load());
}

const PROTOTYPES = {
  gss_import_name:
    'uint32_t gss_import_name(_Out_ uint32_t *minor, gss_buffer_desc *text, gss_oid_desc *type, _Out_ void **name)',
  gss_release_name: 'uint32_t gss_release_name(_Out_ uint32_t *minor, _Inout_ void **name)',
  gss_display_name:
    'uint32_t gss_display_name(_Out_ uint32_t *minor, void *name, _Out_ gss_buffer_desc *text, _Out_ void **type)',
  gss_display_status:
    'uint32_t gss_display_status(_Out_ uint32_t *minor, uint32_t status, int type, gss_oid_desc *mechanism, _Inout_ uint32_t *context, _Out_ gss_buffer_desc *text)',
  gss_release_buffer: 'uint32_t gss_release_buffer(_Out_ uint32_t *minor, _Inout_ gss_buffer_desc *buffer)',
  gss_delete_sec_context:
    'uint32_t gss_delete_sec_context(_Out_ uint32_t *minor, _Inout_ void **context, void *token)',
  gss_acquire_cred_from:
    'uint32_t gss_acquire_cred_from(_Out_ uint32_t *minor, void *name, uint32_t time, void *mechanisms, int usage, gss_key_value_set_desc *store, _Out_ void **credential, void *actual, void *lifetime)',
  gss_accept_sec_context:
    'uint32_t gss_accept_sec_context(_Out_ uint32_t *minor, _Inout_ void **context, void *credential, gss_buffer_desc *token, void *bindings, _Out_ void **source, _Out_ void **mechanism, _Out_ gss_buffer_desc *answer, _Out_ uint32_t *flags, void *time, void *delegated)',
  gss_init_sec_context:
    'uint32_t gss_init_sec_context(_Out_ uint32_t *minor, void *credential, _Inout_ void **context, void *target, gss_oid_desc *mechanism, uint32_t flags, uint32_t time, void *bindings, void *token, void *actual, _Out_ gss_buffer_desc *answer, void *granted, void *lifetime)',
} as const;

type Call = ReturnType<LibraryHandle['func']>;
type Calls = Readonly<Record<keyof typeof PROTOTYPES, Call>>;

class Gss {
  readonly #calls: Calls;
  readonly #bytes: (buffer: GssBuffer) => Buffer;
  readonly #isKerberos: (mechanism: Pointer) => boolean;

  constructor(koffi: Koffi) {
    koffi.struct('gss_buffer_desc', { length: 'size_t', value: 'void *' });
    koffi.struct('gss_oid_desc', { length: 'uint32_t', elements: 'void *' });
    koffi.struct('gss_key_value_element_desc', { key: 'const char *', value: 'const char *' });
    koffi.struct('gss_key_value_set_desc', { count: 'uint32_t', elements: 'gss_key_value_element_desc *' });
    const loaded = koffi.load(LIBRARY);
    this.#calls = Object.fromEntries(
      Object.entries(PROTOTYPES).map(([name, prototype]) => [name, loaded.func(prototype)]),
    ) as unknown as Calls;
    // Not as an array type of this length: each such type would stay registered for ever.
    this.#bytes = ({ length, value }) =>
      value === null || Number(length) === 0
        ? Buffer.alloc(0)
        : Buffer.from(koffi.decode(value, 'uint8_t', Number(length)) as Uint8Array);
    this.#isKerberos = (mechanism) => {
      if (mechanism === null) return false;
      const { length, elements } = koffi.decode(mechanism, 'gss_oid_desc') as {
        length: number;
        elements: Pointer;
      };
      return OIDS.krb5.equals(this.#bytes({ length, value: elements }));
    };
  }

  static async load(): Promise<Gss> {
    const { default: koffi } = await import('koffi');
    try {
      return new Gss(koffi);
    } catch (error) {
      throw new GssError(
        `Kerberos needs the system's library ${LIBRARY}, which cannot be loaded (on Debian: apt-get install libgssapi-krb5-2): ${errorMessage(error)}`,
        { cause: error },
      );
    }
  }

  importName(service: string): Pointer {
    const name: Box<Pointer> = [null];
    this.#check(
      this.#call('gss_import_name', bufferOf(Buffer.from(service)), oidOf(OIDS.hostBasedService), name),
      `the service name ${JSON.stringify(service)} cannot be used`,
    );
    return name[0];
  }

  acquireAcceptor(name: Pointer, keytab: string): Pointer {
    const credential: Box<Pointer> = [null];
    const store = { count: 1, elements: [{ key: 'keytab', value: keytab }] };
    this.#check(
      this.#call('gss_acquire_cred_from', name, 0, null, ACCEPT, store, credential, null, null),
      `the keytab ${keytab.replace(/^FILE:/, '')} cannot be used`,
    );
    return credential[0];
  }

  async accept(credential: Pointer, token: Buffer): Promise<Accepted> {
    const context: Box<Pointer> = [null];
    const source: Box<Pointer> = [null];
    const mechanism: Box<Pointer> = [null];
    const answer: Box<GssBuffer> = [{ length: 0, value: null }];
    const flags: Box<number> = [0];
    const status = await this.#callAsync(
      'gss_accept_sec_context',
      context,
      credential,
      bufferOf(token),
      null,
      source,
      mechanism,
      answer,
      flags,
      null,
      null,
    );
    try {
      this.#check(status, 'the Kerberos ticket is not accepted');
      if (status.major === CONTINUE_NEEDED)
        throw new GssError(
          'the client wants to negotiate in several steps, which is not supported: it should send its Kerberos ticket at once',
        );
      if (!this.#isKerberos(mechanism[0]))
        throw new GssError('the client negotiated another mechanism than Kerberos');
      if ((flags[0] & ANONYMOUS_FLAG) !== 0) throw new GssError('the client is anonymous');
      return { principal: this.#display(source[0]), answer: this.#bytes(answer[0]) };
    } finally {
      this.#call('gss_release_buffer', answer);
      if (source[0]) this.#call('gss_release_name', source);
      if (context[0]) this.#call('gss_delete_sec_context', context, null);
    }
  }

  async initiate(target: Pointer): Promise<Buffer> {
    const context: Box<Pointer> = [null];
    const answer: Box<GssBuffer> = [{ length: 0, value: null }];
    const status = await this.#callAsync(
      'gss_init_sec_context',
      null,
      context,
      target,
      oidOf(OIDS.spnego),
      MUTUAL_FLAG,
      0,
      null,
      null,
      null,
      answer,
      null,
      null,
    );
    try {
      this.#check(status, 'no Kerberos ticket for the service (run kinit first)');
      return this.#bytes(answer[0]);
    } finally {
      this.#call('gss_release_buffer', answer);
      if (context[0]) this.#call('gss_delete_sec_context', context, null);
      this.#call('gss_release_name', [target]);
    }
  }

  #display(name: Pointer): string {
    const text: Box<GssBuffer> = [{ length: 0, value: null }];
    this.#check(this.#call('gss_display_name', name, text, [null]), 'the ticket has no client name');
    const principal = this.#bytes(text[0]).toString('utf8');
    this.#call('gss_release_buffer', text);
    return principal;
  }

  #check({ major, minor }: Status, what: string): void {
    if ((major & ERROR_MASK) === COMPLETE) return;
    const reasons = [
      this.#explain(major, GSS_CODE),
      ...(minor === 0 ? [] : [this.#explain(minor, MECH_CODE)]),
    ].filter((text) => text !== '' && !text.startsWith('Unspecified GSS failure'));
    throw new GssError(`${what}: ${[...new Set(reasons)].join(': ')}`);
  }

  #explain(status: number, type: number): string {
    const text: Box<GssBuffer> = [{ length: 0, value: null }];
    const { major } = this.#call(
      'gss_display_status',
      status,
      type,
      type === MECH_CODE ? oidOf(OIDS.krb5) : null,
      [0],
      text,
    );
    if (major !== COMPLETE) return '';
    const words = this.#bytes(text[0]).toString('utf8');
    this.#call('gss_release_buffer', text);
    return words;
  }

  #call(name: keyof Calls, ...rest: unknown[]): Status {
    const minor: Box<number> = [0];
    const major = this.#calls[name](minor, ...rest) as number;
    return { major: major >>> 0, minor: minor[0] };
  }

  #callAsync(name: keyof Calls, ...rest: unknown[]): Promise<Status> {
    const minor: Box<number> = [0];
    return new Promise((resolve, reject) =>
      this.#calls[name].async(minor, ...rest, (error: unknown, major: number) => {
        // Held until here: the other thread reads buffers that only these refer to.
        rest.length = 0;
        if (error) reject(error as Error);
        else resolve({ major: major >>> 0, minor: minor[0] });
      }),
    );
  }
}

interface Status {
  readonly major: number;
  readonly minor: number;
}

function bufferOf(bytes: Buffer): GssBuffer {
  return { length: bytes.length, value: bytes };
}

function oidOf(elements: Buffer): { readonly length: number; readonly elements: Buffer } {
  return { length: elements.length, elements };
}
