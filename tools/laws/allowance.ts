/**
 * What is allowed until it is mended: laws/allowed.json counts the findings of each law in each folder (rooms, and folders of the API server), so
 * that moving a file changes nothing. A count may only shrink: more findings than allowed fail, fewer are reported, and --fix lowers the count.
 */
import type { Finding } from './law.ts';

/** Law → folder → findings. */
export type Allowed = Readonly<Record<string, Readonly<Record<string, number>>>>;
type Counts = Readonly<Record<string, number>>;

/** 'src/apiserver/authz/rbac.ts' → 'src/apiserver/authz'; 'src/node/agent/…' → 'src/node'. */
export function folderOf(path: string): string {
  const parts = path.split('/').slice(0, -1);
  return parts.slice(0, parts[1] === 'apiserver' ? 3 : 2).join('/');
}

function countFindings(findings: readonly Finding[]): Counts {
  const counts: Record<string, number> = {};
  for (const { path } of findings) counts[folderOf(path)] = (counts[folderOf(path)] ?? 0) + 1;
  return Object.fromEntries(Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The findings of folders that have more than they are allowed. */
export function excess(findings: readonly Finding[], allowed: Counts = {}): Finding[] {
  const counts = countFindings(findings);
  return findings.filter(({ path }) => counts[folderOf(path)]! > (allowed[folderOf(path)] ?? 0));
}

/** How many findings are gone that were allowed. */
export function slack(findings: readonly Finding[], allowed: Counts = {}): number {
  const counts = countFindings(findings);
  return Object.entries(allowed).reduce(
    (sum, [folder, count]) => sum + Math.max(0, count - (counts[folder] ?? 0)),
    0,
  );
}

/** Lowered to what is there; never raised. */
export function lowered(findings: readonly Finding[], allowed: Counts = {}): Counts {
  const counts = countFindings(findings);
  return Object.fromEntries(
    Object.entries(allowed).flatMap(([folder, count]) => {
      const left = Math.min(count, counts[folder] ?? 0);
      return left > 0 ? [[folder, left]] : [];
    }),
  );
}
