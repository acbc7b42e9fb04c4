/** When certificates are renewed, and when their end is warned of. Pure. */
import { createHash } from 'node:crypto';
import type { X509Certificate } from 'node:crypto';

const DAY_MS = 86_400_000;
/** kubeadm's lifetimes. */
export const AUTHORITY_LIFETIME_MS = 3650 * DAY_MS;
export const LEAF_LIFETIME_MS = 365 * DAY_MS;

const RENEW_AT = 2 / 3;
const SPREAD = 0.1;
/** Days before expiry from which a certificate without renewal is warned of. */
const WARN_DAYS = [7, 30, 90] as const;

/** -1 ≤ x ≤ 1 for a certificate's name. */
export type Jitter = (name: string) => number;

/** The same at every start. */
const jitterByName: Jitter = (name) =>
  createHash('sha256').update(name).digest().readUInt32BE(0) / 0x7fff_ffff - 1;

/** Two thirds of its life, a tenth sooner or later: certificates made together are not all renewed together. */
export function renewalTimeMs(
  certificate: X509Certificate,
  { name, jitter = jitterByName }: { readonly name: string; readonly jitter?: Jitter | undefined },
): number {
  const fromMs = Date.parse(certificate.validFrom);
  const lifeMs = Date.parse(certificate.validTo) - fromMs;
  return fromMs + lifeMs * RENEW_AT * (1 + SPREAD * jitter(name));
}

/**
 * How long the successor of a certificate is to be valid. One that is not valid yet is from a time when this machine's clock was ahead, or the clock is
 * behind now: the successor then serves by either clock.
 */
export function lifetimeAfter(
  certificate: X509Certificate,
  { nowMs, lifetimeMs }: { readonly nowMs: number; readonly lifetimeMs: number },
): number {
  return certificate.validFromDate.getTime() > nowMs
    ? Math.max(lifetimeMs, certificate.validToDate.getTime() - nowMs)
    : lifetimeMs;
}

/** A warning for the administrator; reported once for each key. */
export interface PkiWarning {
  readonly key: string;
  readonly message: string;
}

/** undefined while its expiry is far. todo: the administrator's next step. */
export function endWarning(
  certificate: X509Certificate,
  { path, todo, nowMs }: { readonly path: string; readonly todo: string; readonly nowMs: number },
): PkiWarning | undefined {
  const leftDays = (Date.parse(certificate.validTo) - nowMs) / DAY_MS;
  if (leftDays <= 0)
    return { key: `${path} expired`, message: `${path} expired on ${certificate.validTo}: ${todo}` };
  const threshold = WARN_DAYS.find((days) => leftDays <= days);
  if (threshold === undefined) return undefined;
  return {
    key: `${path} ends within ${threshold} days`,
    message: `${path} ends on ${certificate.validTo}, in less than ${Math.max(1, Math.ceil(leftDays))} days: ${todo}`,
  };
}
