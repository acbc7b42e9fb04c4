/** One call of grpc.health.v1.Health/Check over HTTP/2 without TLS: so small that it needs no gRPC library. */
import { connect, constants } from 'node:http2';
import { formatHostPort } from '#stdx/host-port.ts';

interface GrpcHealth {
  /** 'SERVING' and the others of the protocol; undefined when the call failed. */
  readonly status: 'UNKNOWN' | 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN' | undefined;
  readonly message: string;
}

const STATUSES = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'] as const;
const UNIMPLEMENTED = '12';

/** Never rejects. */
export function checkGrpcHealth({
  host,
  port,
  service,
  timeoutMs,
}: {
  readonly host: string;
  readonly port: number;
  readonly service: string;
  readonly timeoutMs: number;
}): Promise<GrpcHealth> {
  const { promise, resolve } = Promise.withResolvers<GrpcHealth>();
  const address = formatHostPort(host, port);
  const session = connect(`http://${address}`);
  const end = (answer: GrpcHealth): void => {
    clearTimeout(timer);
    resolve(answer);
    session.destroy();
  };
  let connected = false;
  const fail = (why: string): void =>
    end({
      status: undefined,
      message: connected
        ? `error: health rpc probe failed: ${why}`
        : `error: failed to connect service "${address}" within ${timeoutMs / 1000}s: ${why}`,
    });
  const timer = setTimeout(() => fail('context deadline exceeded'), timeoutMs);
  session.on('connect', () => {
    connected = true;
  });
  session.on('error', (error) => fail(error.message));
  const stream = session.request({
    [constants.HTTP2_HEADER_METHOD]: 'POST',
    [constants.HTTP2_HEADER_PATH]: '/grpc.health.v1.Health/Check',
    'content-type': 'application/grpc',
    te: 'trailers',
    'grpc-timeout': `${Math.ceil(timeoutMs)}m`,
  });
  const parts: Buffer[] = [];
  let code: string | undefined;
  let message = '';
  const readCode = (headers: Record<string, unknown>): void => {
    if (headers['grpc-status'] === undefined) return;
    code = String(headers['grpc-status'] as string);
    message = decodeURIComponent(String((headers['grpc-message'] as string | undefined) ?? ''));
  };
  stream.on('response', readCode);
  stream.on('trailers', readCode);
  stream.on('data', (part: Buffer) => parts.push(part));
  stream.on('error', (error) => fail(error.message));
  stream.on('end', () => {
    if (code === '0') {
      const status = statusOf(Buffer.concat(parts));
      return end({
        status,
        message:
          status === 'SERVING' ? 'service is healthy' : `service unhealthy (responded with "${status}")`,
      });
    }
    end({
      status: undefined,
      message:
        code === UNIMPLEMENTED
          ? `error: this server does not implement the grpc health protocol (grpc.health.v1.Health): ${message}`
          : `error: health rpc probe failed: ${message} (code ${code ?? 'unknown'})`,
    });
  });
  stream.end(requestFrame(service));
  return promise;
}

/** HealthCheckRequest { string service = 1; } behind gRPC's five bytes. */
function requestFrame(service: string): Buffer {
  const name = Buffer.from(service);
  const body =
    name.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.from([0x0a, ...varint(name.length)]), name]);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
}

/** HealthCheckResponse { ServingStatus status = 1; } */
function statusOf(frame: Buffer): (typeof STATUSES)[number] {
  const body = frame.subarray(5);
  return STATUSES[body[0] === 0x08 ? (body[1] ?? 0) : 0] ?? 'UNKNOWN';
}
