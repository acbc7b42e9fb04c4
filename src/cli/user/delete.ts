/** `capstan user delete NAME`: removes the user's roles. A certificate cannot be revoked: permissions of its groups remain until it expires. */
import type { Command } from 'commander';
import { UserError } from '#deploy/data-dir.ts';
import { isStatusError } from '#machinery/errors.ts';
import { action, dataDirOption, print } from '../context.ts';
import {
  asAdmin,
  listBindings,
  CLUSTER_ROLE_BINDINGS,
  readRecords,
  ROLE_BINDINGS,
  writeRecord,
  type AdminOptions,
} from './users.ts';

export function register(user: Command): void {
  user
    .command('delete')
    .description("take a user's roles away")
    .argument('<name>', "the user's name")
    .addOption(dataDirOption())
    .option(
      '--kubeconfig <file>',
      "the administrator's way in, where the cluster's data directory is not on this machine",
    )
    .option('--context <name>', 'a context of that kubeconfig')
    .action(
      action((name: string, options: AdminOptions) =>
        asAdmin(options, async ({ client }) => {
          const [records, bindings] = await Promise.all([readRecords(client), listBindings(client, name)]);
          const record = records.find((one) => one.name === name);
          if (!record && bindings.length === 0)
            throw new UserError(`There is no user "${name}" that was made here.`);
          for (const { kind, metadata } of bindings) {
            await client
              .delete(kind === ROLE_BINDINGS.kind ? ROLE_BINDINGS : CLUSTER_ROLE_BINDINGS, {
                name: metadata?.name ?? '',
                namespace: metadata?.namespace,
              })
              .catch((error: unknown) => {
                if (!isStatusError(error, 'NotFound')) throw error;
              });
          }
          await writeRecord(client, { name, record: undefined });
          print(
            `${name} has no roles of his own any more (${bindings.length} binding${bindings.length === 1 ? '' : 's'} removed).`,
          );
          if (record && Date.parse(record.expiresAt) > Date.now()) {
            const groups =
              record.groups.length > 0
                ? `, and the groups ${record.groups.join(', ')} may do what they may`
                : '';
            print(
              `His certificate cannot be taken back: until ${record.expiresAt} it still says who he is${groups}.`,
            );
          }
        }),
      ),
    );
}
