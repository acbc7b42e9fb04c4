/** Flags of the kubelet API and of what the node asks of its kernel, with upstream's names. */
import { UserError } from '#deploy/data-dir.ts';
import { Quantity, tryParseQuantity } from '#machinery/quantity.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import { kernelDefaultProblems } from '#node/agent/node/kernel-defaults.ts';
import { tlsSettingsFrom, type TlsFlags, type TlsSettings } from '../tls-flags.ts';

export interface KubeletFlags extends TlsFlags {
  readonly streamingConnectionIdleTimeout?: string;
  readonly protectKernelDefaults?: boolean;
  /** -1: unlimited. */
  readonly podMaxPids?: number;
  /** 'cpu=500m,memory=1Gi,pid=1000' */
  readonly systemReserved?: string;
  readonly kubeReserved?: string;
}

/** Structured-cloneable. */
export interface KubeletSettings extends TlsSettings {
  readonly streamIdleMs?: number;
  readonly podPidsLimit?: number;
  /** Amounts as text, by resource. */
  readonly reserved?: Readonly<Record<string, string>>;
}

/** Throws a UserError for a wrong flag. */
export function kubeletSettingsFrom(flags: KubeletFlags): KubeletSettings {
  const { streamingConnectionIdleTimeout: idle, podMaxPids = -1 } = flags;
  const reserved = reservedFrom(flags);
  return {
    ...tlsSettingsFrom(flags),
    ...(idle === undefined ? {} : { streamIdleMs: idleMs(idle) }),
    ...(podMaxPids > 0 ? { podPidsLimit: podMaxPids } : {}),
    ...(Object.keys(reserved).length > 0 ? { reserved } : {}),
  };
}

const RESERVABLE = ['cpu', 'memory', 'ephemeral-storage', 'pid'];

/** What both flags reserve, together. */
function reservedFrom({ systemReserved, kubeReserved }: KubeletFlags): Record<string, string> {
  const sums: Record<string, string> = {};
  const flags = { 'system-reserved': systemReserved, 'kube-reserved': kubeReserved };
  for (const [flag, text] of Object.entries(flags))
    for (const [name, amount] of amountsOf(flag, text ?? ''))
      sums[name] = (tryParseQuantity(sums[name] ?? '0') ?? Quantity.zero).add(amount).toString();
  return sums;
}

function amountsOf(flag: string, text: string): [name: string, amount: Quantity][] {
  return text
    .split(',')
    .filter((part) => part.trim() !== '')
    .map((part) => {
      const [name = '', value = ''] = part.split('=').map((word) => word.trim());
      const amount = tryParseQuantity(value);
      if (RESERVABLE.includes(name) && amount && amount.sign >= 0) return [name, amount];
      throw new UserError(
        `--${flag} has "${part}"; it should be ${RESERVABLE.join(', ')}, '=' and an amount, such as memory=1Gi.`,
      );
    });
}

/** Throws a UserError that names what differs. */
export async function requireKernelDefaults({ protectKernelDefaults }: KubeletFlags): Promise<void> {
  if (!protectKernelDefaults) return;
  const problems = await kernelDefaultProblems();
  if (problems.length > 0)
    throw new UserError(
      `--protect-kernel-defaults: ${problems.join('; ')}. Set them with sysctl, or leave the flag out.`,
    );
}

/** Longer timers do not exist. */
const LONGEST_MS = 2 ** 31 - 1;

function idleMs(text: string): number {
  let ms: number;
  try {
    ms = goDurationMs(text);
  } catch {
    ms = NaN;
  }
  if (!(ms > 0 && ms <= LONGEST_MS))
    throw new UserError(
      `--streaming-connection-idle-timeout is "${text}"; it should be a duration such as 4h, more than 0 and at most 24 days.`,
    );
  return ms;
}

interface Held {
  readonly value: string;
  readonly why: string;
}

/** Upstream flags that are taken at their secure value only: it cannot be otherwise here. */
export const HELD_FLAGS: Readonly<Record<string, Held>> = {
  'anonymous-auth': { value: 'false', why: 'nobody uses the kubelet API anonymously' },
  'authorization-mode': {
    value: 'Webhook',
    why: 'the API server is asked what clients of the kubelet API may',
  },
  'authentication-token-webhook': { value: 'true', why: 'the API server is asked whose tokens are' },
  'read-only-port': { value: '0', why: 'there is no port without authentication' },
  'make-iptables-util-chains': { value: 'true', why: 'the service proxy makes its own tables' },
};

/** Throws a UserError for another value. */
export function requireHeld(name: string, value: string): void {
  const held = HELD_FLAGS[name];
  if (held && held.value !== value)
    throw new UserError(`--${name} is "${value}"; it can only be ${held.value}: ${held.why}.`);
}
