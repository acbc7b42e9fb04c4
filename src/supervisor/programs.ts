/** The processes that the services of machine.json make: a group of services is one process. */
import { capstanCommand } from '#deploy/machine/program.ts';
import type { HealthProbe, ServiceSpec } from '#deploy/machine/services.ts';

export interface Program {
  /** Of its only service, or of the group. */
  readonly name: string;
  readonly services: readonly string[];
  readonly command: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
  readonly health: readonly HealthProbe[];
  /** Services that this group has in addition to the other; undefined where the other process cannot become this one while it runs. */
  addedTo(other: Program): readonly (readonly string[])[] | undefined;
}

/** Between the services of a group, on the command line. */
export const GROUP_SEPARATOR = ',';

/** In the order in which their first services start. */
export function groupPrograms(services: readonly ServiceSpec[]): Program[] {
  const groups = new Map<string, ServiceSpec[]>();
  for (const service of services) {
    const name = service.group ?? service.name;
    const group = groups.get(name);
    if (group) group.push(service);
    else groups.set(name, [service]);
  }
  return Array.from(groups, ([name, members]) => programOf(name, members));
}

function programOf(name: string, members: readonly ServiceSpec[]): Program {
  const env = Object.assign({}, ...members.map((member) => member.env ?? {})) as Record<string, string>;
  const isGroup = members.some(({ group }) => group === name);
  const words = members.map((member) => ('capstan' in member.run ? member.run.capstan : []));
  const [first] = members;
  const checkout = first?.checkout;
  const command = isGroup || !first ? togetherCommand(words, checkout) : serviceCommand(first);
  return {
    name,
    services: members.map((member) => member.name),
    command,
    env,
    health: members.flatMap((member) => member.health ?? []),
    addedTo(other) {
      if (!isGroup || other.name !== name || JSON.stringify(other.env) !== JSON.stringify(env))
        return undefined;
      // Another program: its process is replaced.
      if (programIn(other.command) !== programIn(command)) return undefined;
      const before = wordsOf(other);
      const kept = before.every((text) => words.some((one) => JSON.stringify(one) === text));
      return kept ? words.filter((one) => !before.includes(JSON.stringify(one))) : undefined;
    },
  };
}

/** Each service's words as JSON. */
function wordsOf({ command }: Program): string[] {
  const at = command.indexOf('together');
  if (at < 0) return [];
  const groups: string[][] = [[]];
  for (const word of command.slice(at + 1))
    if (word === GROUP_SEPARATOR) groups.push([]);
    else groups.at(-1)?.push(word);
  return groups.map((group) => JSON.stringify(group));
}

function programIn(command: readonly string[]): string | undefined {
  return command[command.indexOf('together') - 1];
}

function togetherCommand(
  services: readonly (readonly string[])[],
  checkout: string | undefined,
): [string, ...string[]] {
  const words = services.flatMap((one, index) => (index === 0 ? one : [GROUP_SEPARATOR, ...one]));
  return capstanCommand(['together', ...words], { checkout });
}

function serviceCommand({ run, checkout }: ServiceSpec): [string, ...string[]] {
  return 'capstan' in run ? capstanCommand(run.capstan, { checkout }) : [run.program, ...run.args];
}
