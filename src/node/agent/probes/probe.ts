/** One run of a probe and its result. After upstream's pkg/probe. */
import { connect } from 'node:net';
import type { Probe } from '#api/types.ts';
import type { CriClient } from '../../cri/client.ts';
import { isCriError } from '../../cri/errors.ts';
import { errorMessage } from '#stdx/log.ts';
import { runtimeErrorText } from '../cri-text.ts';
import type { AnyContainer } from '../pod/restart-policy.ts';
import { checkGrpcHealth } from './grpc-health.ts';
import { actionHeaders, actionUrl, httpGet, resolvePort } from './http-get.ts';

interface ProbeOutcome {
  /** 'error': it could not be found out; that counts neither way. */
  readonly result: 'success' | 'failure' | 'error';
  readonly output: string;
  /** A success of which the pod's owner should know. */
  readonly warns?: true;
}

interface ProbeTarget {
  readonly cri: CriClient;
  readonly container: AnyContainer;
  readonly containerId: string;
  readonly podIP: string;
}

const PROBE_AGENT = 'kube-probe/1.36';
const MAX_OUTPUT = 10 * 1024;

/** Never rejects. */
export async function runProbe(probe: Probe, target: ProbeTarget): Promise<ProbeOutcome> {
  const timeoutMs = (probe.timeoutSeconds ?? 1) * 1000;
  try {
    if (probe.exec) return await probeExec(probe.exec.command ?? [], { ...target, timeoutMs });
    if (probe.httpGet) return await probeHttp(probe, target, timeoutMs);
    if (probe.tcpSocket) {
      return await probeTcp({
        host: probe.tcpSocket.host || target.podIP,
        port: resolvePort(probe.tcpSocket.port, target.container),
        timeoutMs,
      });
    }
    if (probe.grpc) {
      const { status, message } = await checkGrpcHealth({
        host: target.podIP,
        port: probe.grpc.port,
        service: probe.grpc.service ?? '',
        timeoutMs,
      });
      return { result: status === 'SERVING' ? 'success' : 'failure', output: message };
    }
    return { result: 'error', output: 'missing probe handler' };
  } catch (error) {
    return { result: 'error', output: errorMessage(error) };
  }
}

async function probeExec(
  command: readonly string[],
  { cri, containerId, timeoutMs }: ProbeTarget & { readonly timeoutMs: number },
): Promise<ProbeOutcome> {
  try {
    const { exitCode, stdout, stderr } = await cri.execSync({
      containerId,
      cmd: command,
      timeout: Math.ceil(timeoutMs / 1000),
    });
    const output = Buffer.concat([stdout, stderr]).subarray(0, MAX_OUTPUT).toString();
    return { result: exitCode === 0 ? 'success' : 'failure', output };
  } catch (error) {
    if (!isCriError(error, 'deadline-exceeded')) return { result: 'error', output: runtimeErrorText(error) };
    return {
      result: 'failure',
      output: `command timed out: ${JSON.stringify(command.join(' '))} timed out after ${timeoutMs / 1000}s`,
    };
  }
}

async function probeHttp(
  { httpGet: action }: Probe,
  { container, podIP }: ProbeTarget,
  timeoutMs: number,
): Promise<ProbeOutcome> {
  if (!action) return { result: 'error', output: 'missing probe handler' };
  const url = actionUrl(action, { container, podIP });
  try {
    const { status, body } = await httpGet({ url, headers: actionHeaders(action, PROBE_AGENT), timeoutMs });
    if (status >= 300 && status < 400)
      return { result: 'success', output: `Probe terminated redirects, Response body: ${body}`, warns: true };
    if (status >= 200 && status < 300) return { result: 'success', output: body };
    return { result: 'failure', output: `HTTP probe failed with statuscode: ${status}` };
  } catch (error) {
    return { result: 'failure', output: errorMessage(error) };
  }
}

function probeTcp({
  host,
  port,
  timeoutMs,
}: {
  readonly host: string;
  readonly port: number;
  readonly timeoutMs: number;
}): Promise<ProbeOutcome> {
  const { promise, resolve } = Promise.withResolvers<ProbeOutcome>();
  const socket = connect({ host, port });
  const end = (outcome: ProbeOutcome): void => {
    socket.destroy();
    resolve(outcome);
  };
  socket.setTimeout(timeoutMs, () =>
    end({ result: 'failure', output: `dial tcp ${host}:${port}: i/o timeout` }),
  );
  socket.on('connect', () => end({ result: 'success', output: '' }));
  socket.on('error', (error: NodeJS.ErrnoException) =>
    end({
      result: 'failure',
      output: `dial tcp ${host}:${port}: ${error.code === 'ECONNREFUSED' ? 'connect: connection refused' : error.message}`,
    }),
  );
  return promise;
}
