/** `capstan access explain USER VERB RESOURCE[/NAME]`: whether it is allowed, by which rule; or what is missing, and the nearest rule. Exit code 1 = not allowed. */
import { Option, type Command } from 'commander';
import { readAccessPolicy, serverVerdict, type Explanation, type Permit } from '#cmd/apiserver/access.ts';
import type { UserInfo } from '#machinery/object.ts';
import { action, print, list } from '../context.ts';
import {
  describeBinding,
  describeQuestion,
  describeRole,
  describeRule,
  describeSubject,
  questionOptions,
  withQuestion,
  type QuestionOptions,
} from './question.ts';

interface ExplainOptions extends QuestionOptions {
  readonly group?: readonly string[];
}

export function register(parent: Command): void {
  questionOptions(
    parent
      .command('explain')
      .description('say whether a user may do something, and why or why not')
      .argument('<user>', 'its name, for example jane or system:serviceaccount:blue:bot')
      .argument('<verb>', 'get, list, watch, create, update, patch, delete, deletecollection, …')
      .argument('<target>', 'pods, deployments.apps, secrets/NAME, or a path such as /metrics')
      .addOption(
        new Option('--group <name>', 'a group the user is in; may be given several times').argParser(list),
      ),
  ).action(
    action((user: string, verb: string, target: string, options: ExplainOptions) =>
      explain(options, { user: withImpliedGroups(user, options.group ?? []), verb, target }),
    ),
  );
}

/** Everybody's, and those of service accounts. */
function withImpliedGroups(name: string, groups: readonly string[]): UserInfo {
  const [, namespace] = /^system:serviceaccount:([^:]+):[^:]+$/.exec(name) ?? [];
  const implied = namespace ? ['system:serviceaccounts', `system:serviceaccounts:${namespace}`] : [];
  return {
    name,
    groups: [
      ...new Set([
        ...groups,
        ...implied,
        name === 'system:anonymous' ? 'system:unauthenticated' : 'system:authenticated',
      ]),
    ],
  };
}

function explain(
  options: ExplainOptions,
  { user, ...asked }: { readonly user: UserInfo; readonly verb: string; readonly target: string },
): Promise<void> {
  return withQuestion(options, asked, async ({ client, question, unknown }) => {
    const [policy, server] = await Promise.all([
      readAccessPolicy(client),
      serverVerdict(client, user, question),
    ]);
    const explanation: Explanation = { ...policy.explain(user, question), server };
    const allowed =
      server?.allowed ?? (explanation.permits.length > 0 || user.groups.includes('system:masters'));
    process.exitCode = allowed ? 0 : 1;
    if (options.json)
      return print(JSON.stringify({ allowed, unknownResource: unknown, ...explanation }, undefined, 2));
    if (unknown)
      print(`The server has no resource "${asked.target.split('/')[0]}"; rules may name it all the same.`);
    print(
      `${allowed ? 'yes' : 'no'}: User ${user.name} ${allowed ? 'may' : 'may not'} ${describeQuestion(question)}`,
    );
    for (const line of [...groupLines(user), ...permitLines(explanation), ...serverLines(explanation)])
      print(line);
  });
}

function groupLines({ groups }: UserInfo): string[] {
  return [`  groups      ${groups.join(', ')}`];
}

function permitLines({ permits, remarks, nearest, dangling }: Explanation): string[] {
  if (permits.length > 0)
    return [
      ...remarks.map((remark) => `  also        ${remark}`),
      ...permits.flatMap((permit) => lines(permit)),
    ];
  return [
    ...remarks.map((remark) => `  also        ${remark}`),
    '  RBAC        no rule of any role bound to the user or these groups allows it',
    ...dangling.map((text) => `  missing     ${text}`),
    ...nearest.flatMap(({ what, permit }) => [
      `  nearest     ${what}`,
      ...lines(permit).map((line) => `  ${line}`),
    ]),
  ];
}

function lines(permit: Permit): string[] {
  return [
    `  rule        ${describeRule(permit)}`,
    `    of        ${describeRole(permit)}`,
    `    bound by  ${describeBinding(permit)} to ${describeSubject(permit)}`,
  ];
}

/** Where the server's verdict differs from RBAC's, another authorizer decided. */
function serverLines({ server, permits }: Explanation): string[] {
  if (!server)
    return [
      '  server      not asked: the user of the kubeconfig may not create subjectaccessreviews; only RBAC was looked at',
    ];
  const said = `  server      ${server.allowed ? 'allows it' : server.denied ? 'denies it' : 'does not allow it'}${server.reason === '' ? '' : `: ${server.reason}`}${server.error === '' ? '' : ` (${server.error})`}`;
  if (server.allowed && permits.length === 0)
    return [
      said,
      '              not by RBAC: by the Node authorizer, ABAC, a webhook, AlwaysAllow or membership of system:masters',
    ];
  if (!server.allowed && permits.length > 0)
    return [
      said,
      '              although RBAC would: RBAC is not among its authorizers, or one before it denies',
    ];
  return [said];
}
