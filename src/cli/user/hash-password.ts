/** `capstan user hash-password NAME`: a line for the file of `capstan apiserver --basic-auth-file`. */
import { Option, type Command } from 'commander';
import { UserError } from '#deploy/data-dir.ts';
import { action, print, list } from '../context.ts';
import { askPassword, readLine } from '../prompt.ts';

export function register(user: Command): void {
  user
    .command('hash-password')
    .description('ask for a password and print a line for the file of --basic-auth-file')
    .argument('<name>', "the user's name")
    .option('--uid <uid>', 'a number or text that tells him from others of that name', '')
    .addOption(new Option('--group <name>', 'a group he is in; may be given several times').argParser(list))
    .option('--password-stdin', 'read the password from standard input')
    .action(
      action(
        async (
          name: string,
          options: {
            readonly uid: string;
            readonly group?: readonly string[];
            readonly passwordStdin?: boolean;
          },
        ) => {
          if (name === '' || name.includes(':'))
            throw new UserError(
              `"${name}" cannot be a user's name here: it is empty or has a colon, which HTTP basic authentication cannot carry.`,
            );
          const password = options.passwordStdin ? await readLine() : await askTwice(name);
          if (password === undefined || password === '') throw new UserError('The password is empty.');
          const { hashPassword } = await import('#cmd/apiserver/login-client.ts');
          print(
            [
              quote(await hashPassword(password)),
              quote(name),
              quote(options.uid),
              quote((options.group ?? []).join(',')),
            ].join(','),
          );
        },
      ),
    );
}

async function askTwice(name: string): Promise<string> {
  const password = await askPassword(`Password for ${name}: `);
  if (password !== (await askPassword('Again: '))) throw new UserError('The two passwords differ.');
  return password;
}

function quote(text: string): string {
  return /^[\w.@-]*$/.test(text) ? text : `"${text.replaceAll('"', '""')}"`;
}
