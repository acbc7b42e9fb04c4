/** The version of this program as metrics: kubernetes_build_info and version_info. */
import { label } from '#stdx/instruments.ts';
import { versionInfo } from './paths.ts';

export function buildInfoLines(program: Parameters<typeof versionInfo>[0]): string {
  const {
    major,
    minor,
    emulationMajor,
    emulationMinor,
    minCompatibilityMajor,
    minCompatibilityMinor,
    gitVersion,
    gitCommit,
    gitTreeState,
    buildDate,
    goVersion,
    compiler,
    platform,
  } = versionInfo(program);
  const build = Object.entries({
    build_date: buildDate,
    compiler,
    git_commit: gitCommit,
    git_tree_state: gitTreeState,
    git_version: gitVersion,
    go_version: goVersion,
    major,
    minor,
    platform,
  });
  const versions = Object.entries({
    binary: gitVersion.replace(/^v/, ''),
    component: 'kube',
    emulation: `${emulationMajor}.${emulationMinor}`,
    min_compat: `${minCompatibilityMajor}.${minCompatibilityMinor}`,
  });
  const labels = (of: readonly (readonly [name: string, value: string])[]): string =>
    of.map(([name, value]) => label(name, value)).join(',');
  return [
    '# HELP kubernetes_build_info Version of this program; the value is 1.',
    '# TYPE kubernetes_build_info gauge',
    `kubernetes_build_info{${labels(build)}} 1`,
    '# HELP version_info Which version of Kubernetes it behaves as; the value is 1.',
    '# TYPE version_info gauge',
    `version_info{${labels(versions)}} 1`,
  ].join('\n');
}
