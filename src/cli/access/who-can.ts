/** `capstan access who-can VERB RESOURCE[/NAME]`: everybody whom RBAC lets, by which binding, role and rule. */
import type { Command } from 'commander';
import { alignColumns } from '#stdx/columns.ts';
import { readAccessPolicy } from '#cmd/apiserver/access.ts';
import { action, print } from '../context.ts';
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

export function register(parent: Command): void {
  questionOptions(
    parent
      .command('who-can')
      .description('list who may do something')
      .argument('<verb>', 'get, list, watch, create, update, patch, delete, deletecollection, …')
      .argument('<target>', 'pods, deployments.apps, secrets/NAME, or a path such as /metrics'),
  ).action(
    action((verb: string, target: string, options: QuestionOptions) => whoCan(options, { verb, target })),
  );
}

function whoCan(
  options: QuestionOptions,
  asked: { readonly verb: string; readonly target: string },
): Promise<void> {
  return withQuestion(options, asked, async ({ client, question, unknown }) => {
    const { permits, remarks } = (await readAccessPolicy(client)).whoCan(question);
    if (options.json)
      return print(JSON.stringify({ question, unknownResource: unknown, permits, remarks }, undefined, 2));
    if (unknown)
      print(`The server has no resource "${asked.target.split('/')[0]}"; rules may name it all the same.`);
    print(
      permits.length === 0
        ? `RBAC allows no subject to ${describeQuestion(question)}.`
        : `RBAC lets these ${describeQuestion(question)}:`,
    );
    if (permits.length > 0) {
      const rows = permits.map((permit) => [
        describeSubject(permit),
        describeBinding(permit),
        describeRole(permit),
        describeRule(permit),
      ]);
      for (const line of alignColumns([['SUBJECT', 'BY', 'ROLE', 'RULE'], ...rows], { gap: '  ' }))
        print(`  ${line}`);
    }
    for (const remark of remarks) print(`Also: ${remark}.`);
    print(
      'Not shown: what ABAC policies and authorization webhooks allow, where the server has them; ask about one user with: capstan access explain',
    );
  });
}
