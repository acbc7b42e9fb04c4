/** `capstan upgrade plan`: what runs, what it would become, in which order, and what is in the way. Changes nothing. */
import { UserError } from '#deploy/data-dir.ts';
import { formatMajorMinor, parseMajorMinor } from '#machinery/effective-version.ts';
import type { CheckContext } from '#readiness/check.ts';
import { BEFORE_UPGRADE } from '#readiness/list.ts';
import { renderFindings, runChecks, type CheckResult } from '#readiness/run-checks.ts';
import type { ObservedMachine } from './observe.ts';
import { skewFindings } from './skew.ts';

export interface UpgradePlan {
  /** The oldest API server that runs. */
  readonly from: string;
  readonly to: string;
  /** What the new program behaves as until the raise: '1.36'. */
  readonly emulated: string;
  readonly machines: readonly ObservedMachine[];
  readonly checks: readonly CheckResult[];
  /** Findings that `apply` refuses to go past. */
  readonly blocking: number;
  /** Every machine runs the target already. */
  readonly upToDate: boolean;
}

interface PlanOptions extends Omit<CheckContext, 'target'> {
  readonly machines: readonly ObservedMachine[];
  /** 'v1.37.0+capstan.0.2.0': the program that plans. */
  readonly target: string;
}

export async function makePlan({ machines, target, ...context }: PlanOptions): Promise<UpgradePlan> {
  const running = machines.flatMap(({ api }) => (api ? [api.gitVersion] : []));
  const [from] = running.toSorted(byVersion);
  if (from === undefined) throw noControlPlane(machines.flatMap(({ server }) => server ?? []));
  const emulated = machines.find(({ api }) => api?.gitVersion === from)?.api?.emulated ?? '';
  const silent = machines.filter(({ role, api }) => role === 'control-plane' && !api);
  const skew: CheckResult = {
    check: 'skew',
    short: 'the target is at most one minor version newer',
    findings: [
      ...skewFindings(running, target),
      ...silent.map(({ name, server }) => ({
        severity: 'error' as const,
        object: `API server of ${name}`,
        evidence: `it does not answer at ${server}`,
        remedy: `start it, or remove the machine: capstan status on ${name}`,
      })),
    ],
  };
  const checks = [
    skew,
    ...(await runChecks(BEFORE_UPGRADE, { ...context, target: parseMajorMinor(target) })),
  ];
  return {
    from,
    to: target,
    emulated,
    machines,
    checks,
    blocking: checks.flatMap(({ findings }) => findings).filter(({ severity }) => severity === 'error')
      .length,
    upToDate: machines.every(
      ({ role, api, kubelet }) => kubelet === target && (role === 'worker' || api?.gitVersion === target),
    ),
  };
}

function noControlPlane(asked: readonly string[]): UserError {
  return new UserError(
    asked.length > 0
      ? `No API server of a control plane answers with its version; asked were ${asked.join(', ')}.`
      : 'No Node of this cluster is a control plane of `capstan init` or `join`. A cluster of `capstan up` is upgraded by `capstan down` and, with the newer program, `capstan up`.',
  );
}

function byVersion(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}

/** Lines for people. */
export function renderPlan(plan: UpgradePlan): string[] {
  const { from, to, machines, checks, blocking, upToDate } = plan;
  if (upToDate) return [`Every machine runs ${to}: there is nothing to upgrade.`];
  const width = Math.max(...machines.map(({ name }) => name.length));
  const line = ({ name, role, api, kubelet }: ObservedMachine): string =>
    `  ${name.padEnd(width)}  ${role.padEnd(13)}  API server ${api?.gitVersion ?? '-'}, node agent ${kubelet || '-'}`;
  return [
    `Upgrade from ${from} to ${to}`,
    '',
    ...machines.map(line),
    '',
    ...stepsOf(plan).map((step, index) => `  ${index + 1}. ${step}`),
    '',
    ...checks.flatMap(renderFindings),
    blocking === 0
      ? `Nothing is in the way. ${wayBack(plan)}`
      : `${blocking} ${blocking === 1 ? 'finding is' : 'findings are'} in the way.`,
  ];
}

function stepsOf({ machines, emulated, to }: UpgradePlan): string[] {
  const names = (role: string): string =>
    machines
      .filter((machine) => machine.role === role)
      .map(({ name }) => name)
      .join(', ');
  const workers = names('worker');
  const raised = raisedTo({ emulated, to });
  return [
    'a backup, proven by its drill',
    `control planes one by one, the leaders of etcd and of the controllers last: ${names('control-plane')}${raised === undefined ? '' : `; the new program behaves as ${emulated}`}`,
    'soak: the gates stay open',
    ...(raised === undefined ? [] : [`raise: they behave as ${raised}`]),
    `node agents of the control planes${workers ? `, then workers by cordon, drain, node agent, uncordon: ${workers}` : ''}`,
    'objects whose storage version changed are written anew',
  ];
}

/** Undefined: both are of one minor version, and there is nothing to raise. */
function raisedTo({ emulated, to }: Pick<UpgradePlan, 'emulated' | 'to'>): string | undefined {
  const minor = formatMajorMinor(parseMajorMinor(to)!);
  return minor === emulated ? undefined : minor;
}

function wayBack(plan: UpgradePlan): string {
  if (raisedTo(plan) === undefined) return 'The way back is only the old program.';
  const raise = stepsOf(plan).findIndex((step) => step.startsWith('raise')) + 1;
  return `Until step ${raise} the way back is only the old program, which behaves as ${plan.emulated} too.`;
}
