/** What PodSecurity counts, under upstream's names. */
import type { AdmissionAttributes } from '../../plugin.ts';
import type { LevelVersion } from './level.ts';

/** Versions from here on are labeled 'future', which bounds the number of series. */
const SERVER_MINOR = 36;

export class PodSecurityMetrics {
  readonly #evaluations = new Map<string, number>();
  readonly #exemptions = new Map<string, number>();
  readonly #errors = new Map<string, number>();

  evaluated(
    attributes: AdmissionAttributes,
    {
      mode,
      policy,
      allowed,
    }: { readonly mode: string; readonly policy: LevelVersion; readonly allowed: boolean },
  ): void {
    add(
      this.#evaluations,
      `decision="${allowed ? 'allow' : 'deny'}",mode="${mode}",policy_level="${policy.level}",policy_version="${versionOf(policy)}",${computeLabels(attributes)}`,
    );
  }

  exempted(attributes: AdmissionAttributes): void {
    add(this.#exemptions, computeLabels(attributes));
  }

  failed(attributes: AdmissionAttributes): void {
    add(this.#errors, `fatal="false",${computeLabels(attributes)}`);
  }

  render(): string {
    return [
      ...lines('pod_security_evaluations_total', {
        help: 'Evaluations of pods by the policies of their namespaces.',
        values: this.#evaluations,
      }),
      ...lines('pod_security_exemptions_total', {
        help: 'Requests that are exempt from pod security.',
        values: this.#exemptions,
      }),
      ...lines('pod_security_errors_total', {
        help: 'Policies that could not be read.',
        values: this.#errors,
      }),
    ].join('\n');
  }
}

function lines(
  name: string,
  { help, values }: { readonly help: string; readonly values: ReadonlyMap<string, number> },
): string[] {
  return values.size === 0
    ? []
    : [
        `# HELP ${name} ${help}`,
        `# TYPE ${name} counter`,
        ...[...values].map(([labels, value]) => `${name}{${labels}} ${value}`),
      ];
}

function add(counts: Map<string, number>, labels: string): void {
  counts.set(labels, (counts.get(labels) ?? 0) + 1);
}

function versionOf({ level, version }: LevelVersion): string {
  if (level === 'privileged' || version === 'latest') return 'latest';
  return Number(version.slice('v1.'.length)) > SERVER_MINOR ? 'future' : version;
}

function computeLabels({ operation, gvr, subresource }: AdmissionAttributes): string {
  return `request_operation="${operation.toLowerCase()}",resource="${gvr.resource === 'pods' ? 'pod' : 'controller'}",subresource="${subresource}"`;
}
