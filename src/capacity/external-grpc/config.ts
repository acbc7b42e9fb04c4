/** Upstream's --cloud-config of externalgrpc: where the provider is, and the certificates for it. */
import { ConfigError, parseConfig } from '#machinery/config/read.ts';
import { goDurationMs } from '#machinery/go-duration.ts';

export interface ExternalGrpcConfig {
  /** 'HOST:PORT' */
  readonly address: string;
  /** Paths of PEM files. */
  readonly key: string | undefined;
  readonly cert: string | undefined;
  readonly cacert: string | undefined;
  readonly timeoutMs: number;
}

const FIELDS = ['address', 'key', 'cert', 'cacert', 'grpc_timeout'] as const;
/** Upstream's. */
const DEFAULT_TIMEOUT = '5s';

/** Throws ConfigError. */
export function parseExternalGrpcConfig(content: string): ExternalGrpcConfig {
  const given = parseConfig(content).value;
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw new ConfigError(`it should be a map of ${FIELDS.join(', ')}`);
  for (const [name, value] of Object.entries(given)) {
    if (!FIELDS.includes(name as (typeof FIELDS)[number]))
      throw new ConfigError(`it has ${name}; it should have ${FIELDS.join(', ')}`);
    if (typeof value !== 'string') throw new ConfigError(`${name} is no text`);
  }
  const fields = given as Partial<Record<(typeof FIELDS)[number], string>>;
  const { address, key, cert, cacert, grpc_timeout: timeout = DEFAULT_TIMEOUT } = fields;
  if (!address || !/:\d+$/.test(address))
    throw new ConfigError(`address is ${JSON.stringify(address ?? '')}; it should be HOST:PORT`);
  const files = [key, cert, cacert].filter((file) => file !== undefined).length;
  if (files !== 0 && files !== 3)
    throw new ConfigError('key, cert and cacert should be given all, or none of them');
  return { address, key, cert, cacert, timeoutMs: timeoutFrom(timeout) };
}

function timeoutFrom(text: string): number {
  const found = attempt(text);
  if (found === undefined || found <= 0)
    throw new ConfigError(`grpc_timeout is ${text}; it should be a duration above 0, as in 5s`);
  return found;
}

function attempt(text: string): number | undefined {
  try {
    return goDurationMs(text);
  } catch {
    return undefined;
  }
}
