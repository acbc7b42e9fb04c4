/** What a version of etcd can be trusted with, and which ones to warn of. Issues and their fixes: etcd's CHANGELOG-3.4 to 3.6. */

interface Version {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
}

function parse(version: string): Version {
  const [major = 0, minor = 0, patch = 0] = version.split(/[.+-]/).map((part) => Number(part) || 0);
  return { major, minor, patch };
}

/** As upstream judges: before 3.4.31, and in 3.5 before 3.5.13, progress may be told before the events. Undefined: not known. */
export function hasTrueProgress(version: string | undefined): boolean {
  if (version === undefined) return false;
  const { major, minor, patch } = parse(version);
  if (major !== 3 || minor > 5) return major > 3 || minor > 5;
  return minor === 5 ? patch >= 13 : minor === 4 && patch >= 31;
}

/** The protocol that is spoken here came with 3.4. */
export function isTooOld(version: string): boolean {
  const { major, minor } = parse(version);
  return major < 3 || (major === 3 && minor < 4);
}

/** One sentence for the log, undefined for a version that has what production needs. */
export function versionWarning(version: string): string | undefined {
  const { major, minor, patch } = parse(version);
  if (major !== 3) return undefined;
  if (minor === 4)
    return 'etcd 3.4 is for tests only: it can lose events of watches after a compaction, and reads from the cache cost a write each; use 3.5.26 or later';
  if (minor === 5 && patch < 26)
    return 'etcd 3.5 before 3.5.26 has known faults in watches and membership, and cannot be upgraded to 3.6 safely; use 3.5.26 or later';
  return undefined;
}
