/** Words for a component of a test, that it opens no port of its own: several clusters may run on the machine. */
const OFF: Readonly<Record<string, readonly string[]>> = {
  scheduler: ['--secure-port=0'],
  'controller-manager': ['--secure-port=0'],
  proxy: ['--metrics-bind-address=', '--healthz-bind-address='],
  dns: ['--metrics-bind-address=', '--health-bind-address=', '--ready-bind-address='],
};

/** words: of the command line, the command first. */
export function withoutPorts(words: readonly string[]): string[] {
  return [...words, ...(OFF[words[0] ?? ''] ?? [])];
}
