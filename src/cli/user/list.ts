/** `capstan user list`: users that `user create` made, their groups, roles, and when their newest certificate ends. */
import type { Command } from 'commander';
import { alignColumns } from '#stdx/columns.ts';
import type { KubeObject } from '#machinery/object.ts';
import { action, dataDirOption, print } from '../context.ts';
import { asAdmin, listBindings, readRecords, USER_ANNOTATION, type AdminOptions } from './users.ts';

interface Row {
  readonly name: string;
  readonly groups: readonly string[];
  readonly roles: readonly string[];
  readonly expiresAt: string;
}

export function register(user: Command): void {
  user
    .command('list')
    .description('show the users that were made here')
    .addOption(dataDirOption())
    .option(
      '--kubeconfig <file>',
      "the administrator's way in, where the cluster's data directory is not on this machine",
    )
    .option('--context <name>', 'a context of that kubeconfig')
    .option('--json', 'as JSON')
    .action(
      action(async (options: AdminOptions & { readonly json?: boolean }) => {
        const rows = await asAdmin(options, async ({ client }) => {
          const [records, bindings] = await Promise.all([readRecords(client), listBindings(client)]);
          return records.map(({ name, groups, expiresAt }): Row => ({
            name,
            groups,
            expiresAt,
            roles: bindings
              .filter((one) => one.metadata?.annotations?.[USER_ANNOTATION] === name)
              .map(roleText),
          }));
        });
        rows.sort((left, right) => (left.name < right.name ? -1 : 1));
        if (options.json) return print(JSON.stringify(rows, undefined, 2));
        if (rows.length === 0)
          return print('No users were made yet; make one with: capstan user create NAME --role view');
        const cells = [
          ['NAME', 'GROUPS', 'ROLES', 'CERTIFICATE UNTIL'],
          ...rows.map((row) => [
            row.name,
            row.groups.join(',') || '-',
            row.roles.join(',') || '-',
            row.expiresAt,
          ]),
        ];
        for (const line of alignColumns(cells)) print(line);
      }),
    );
}

/** 'view' or 'edit in shop' */
function roleText(binding: KubeObject): string {
  const { name } = binding['roleRef'] as { readonly name: string };
  return binding.metadata?.namespace === undefined ? name : `${name} in ${binding.metadata.namespace}`;
}
