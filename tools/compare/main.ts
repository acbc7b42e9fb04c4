/**
 * `node tools/compare/main.ts --reference=KUBECONFIG --subject=KUBECONFIG`: sends the same requests to two API servers and lists every difference of
 * their answers. See docs/comparing.md. Both servers are written to: use ones made for it. Ends with 1 where something differs.
 *   --only=TEXT,TEXT…   scenarios whose name contains one of them
 *   --seed=N            names of this run's objects, and what --limit leaves; the same seed needs fresh servers
 *   --limit=N           so many scenarios, picked at random
 *   --concurrency=N     scenarios at a time (8)
 *   --json=FILE         every single difference, one JSON object a line
 *   --markdown=FILE     the grouped list
 */
import { writeFileSync } from 'node:fs';
import { seededRandom, shuffled } from '#stdx/random.ts';
import { apiGroups } from '#api/resources.ts';
import { connect, type Connection } from './connection.ts';
import { countsByArea, markdown, Report } from './report.ts';
import { runScenarios, type Finding } from './runner.ts';
import type { RunNames, Scenario } from './scenario.ts';
import { SOURCES } from './scenarios/index.ts';
import { setup } from './scenarios/setup.ts';

function option(name: string): string | undefined {
  const prefix = `--${name}=`;
  return process.argv.find((argument) => argument.startsWith(prefix))?.slice(prefix.length);
}

function numberOption(name: string, fallback: number): number {
  const value = Number(option(name) ?? fallback);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`--${name} should be a whole number`);
  return value;
}

function required(name: string): string {
  const value = option(name);
  if (value === undefined) throw new Error(`--${name}=KUBECONFIG is missing`);
  return value;
}

/** Versions that neither server serves need no more than a look at discovery. */
async function unservedVersions(servers: readonly Connection[]): Promise<string[]> {
  const versions = apiGroups
    .flatMap(({ name, versions: all }) => all.map((version) => `${name}/${version}/`))
    .filter((version) => !version.startsWith('/'));
  const served = await Promise.all(
    versions.map(async (version) => {
      const answers = await Promise.all(
        servers.map((server) =>
          server.send({ method: 'GET', path: `/apis/${version.slice(0, -1)}`, headers: {} }),
        ),
      );
      return answers.some(({ status }) => status !== 404);
    }),
  );
  return versions.filter((_, at) => !served[at]);
}

function chosen(
  names: RunNames,
  { seed, unserved }: { readonly seed: number; readonly unserved: readonly string[] },
): Scenario[] {
  const only = (option('only') ?? '').split(',');
  const all = SOURCES.flatMap((source) => source(names)).filter(
    ({ name }) =>
      only.some((text) => name.includes(text)) &&
      !unserved.some((version) => name.includes(`/${version}`) && !name.startsWith('documents')),
  );
  const limit = numberOption('limit', all.length);
  return limit >= all.length ? all : shuffled(all, seededRandom(seed)).slice(0, limit);
}

async function main(): Promise<number> {
  const seed = numberOption('seed', Date.now() % 2 ** 31);
  const token = `c${seed.toString(36)}`;
  const names: RunNames = { token, namespace: `${token}-ns0` };
  const concurrency = numberOption('concurrency', 8);
  const [reference, subject] = [required('reference'), required('subject')].map((file) =>
    connect(file, { maxSockets: concurrency * 2 }),
  ) as [Connection, Connection];
  const scenarios = chosen(names, { seed, unserved: await unservedVersions([reference, subject]) });
  console.log(`seed ${seed}: ${scenarios.length} scenarios`);
  const report = new Report(),
    findings: Finding[] = [],
    refused = new Map<string, string>();
  const onFinding = (finding: Finding): void => {
    report.add(finding);
    findings.push(finding);
  };
  const started = performance.now();
  const run = {
    reference,
    subject,
    concurrency,
    onFinding,
    onRefused: (scenario: string, answer: string) => void refused.set(scenario, answer),
  };
  await runScenarios([setup(names)], { ...run, concurrency: 1 });
  const { requests } = await runScenarios(scenarios, {
    ...run,
    onProgress: (done) => console.log(`${done} scenarios, ${report.findings} differences`),
  });
  reference.close();
  subject.close();
  const groups = report.groups();
  for (const [scenario, answer] of refused) console.log(`both refuse ${scenario}: ${answer.slice(0, 300)}`);
  for (const [area, count] of countsByArea(groups))
    console.log(
      `${String(count.groups).padStart(5)} kinds, ${String(count.findings).padStart(6)} differences: ${area}`,
    );
  console.log(
    `${requests} requests to each in ${((performance.now() - started) / 1000).toFixed(0)} s: ${report.findings} differences of ${groups.length} kinds`,
  );
  const [json, list] = [option('json'), option('markdown')];
  if (json !== undefined) writeFileSync(json, findings.map((finding) => JSON.stringify(finding)).join('\n'));
  if (list !== undefined) writeFileSync(list, markdown(groups));
  else if (groups.length > 0) console.log(markdown(groups));
  return groups.length === 0 ? 0 : 1;
}

process.exitCode = await main();
