/** Upstream's version skew policy, as far as an upgrade of all machines depends on it: one minor version at a time, and never back. Pure. */
import { formatMajorMinor, parseMajorMinor } from '#machinery/effective-version.ts';
import type { Finding } from '#readiness/check.ts';

/** gitVersions of API servers: 'v1.36.0+capstan.0.1.0'. */
export function skewFindings(running: readonly string[], target: string): Finding[] {
  const to = parseMajorMinor(target)!;
  return [...new Set(running)].flatMap((text): Finding[] => {
    const from = parseMajorMinor(text);
    if (!from) return [finding(`${text} is no version`, 'see what answers at that address')];
    const behind = (to.major - from.major) * 1_000 + to.minor - from.minor;
    if (behind > 1)
      return [
        finding(
          `from ${formatMajorMinor(from)} to ${formatMajorMinor(to)} a minor version is skipped`,
          `upgrade to ${from.major}.${from.minor + 1} first`,
        ),
      ];
    if (behind < 0)
      return [
        finding(
          `${formatMajorMinor(to)} is older than ${formatMajorMinor(from)}, which runs`,
          'run this with the newer program; back goes only: capstan upgrade rollback',
        ),
      ];
    return [];
  });
}

function finding(evidence: string, remedy: string): Finding {
  return { severity: 'error', object: 'API servers', evidence, remedy };
}
