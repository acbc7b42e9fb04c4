/**
 * Generates src/api/generated and src/node/cri/generated from the specifications beside the repository.
 *   node tools/generate-api/main.ts           write what changed
 *   node tools/generate-api/main.ts --check   exit 1 when the committed output is stale
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { criTypes } from './cri-types.ts';
import { grpcDescriptor } from './grpc.ts';
import { buildModels } from './model.ts';
import { readResources, refsFile, resourceTable } from './resources.ts';
import { schemaTable } from './schemas.ts';
import { preferredIndex, typeFiles } from './types.ts';
import { readProtoPackages, sourcePresent, type ProtoPackage } from './source.ts';

const outputRoot = join(import.meta.dirname, '../../src');
/** Every file in them is generated. */
const outputFolders = ['api/generated', 'node/cri/generated'];

function generate(): Map<string, string> {
  const packages = readProtoPackages();
  return new Map([
    ...[...apiFiles(packages)].map(([file, text]) => [`api/generated/${file}`, text] as const),
    ['node/cri/generated/messages.ts', criTypes(packages['runtime.v1']!)],
  ]);
}

function apiFiles(packages: Readonly<Record<string, ProtoPackage>>): Map<string, string> {
  const output = new Map<string, string>();
  for (const [file, name] of [
    ['cri-v1', 'runtime.v1'],
    ['device-plugin-v1beta1', 'v1beta1'],
    ['kms-v2', 'v2'],
  ] as const) {
    output.set(`${file}.json`, `${JSON.stringify(grpcDescriptor(name, packages[name]!))}\n`);
  }
  const { served, unserved } = buildModels();
  output.set('schemas.json', schemaTable(served));
  output.set('schemas-unserved.json', schemaTable(unserved));
  for (const [file, text] of typeFiles(served)) output.set(file, text);
  output.set('types-preferred.ts', preferredIndex(served, preferredPackages));
  const discovery = readResources();
  output.set('resources.json', resourceTable(discovery));
  output.set('refs.ts', refsFile(discovery, served));
  return output;
}

/** Earlier packages keep a name that several have. */
const preferredPackages = [
  'io.k8s.apimachinery.pkg.apis.meta.v1',
  'io.k8s.api.core.v1',
  'io.k8s.api.apps.v1',
  'io.k8s.api.batch.v1',
  'io.k8s.api.autoscaling.v2',
  'io.k8s.api.authentication.v1',
  'io.k8s.api.authorization.v1',
  'io.k8s.api.certificates.v1',
  'io.k8s.api.coordination.v1',
  'io.k8s.api.discovery.v1',
  'io.k8s.api.events.v1',
  'io.k8s.api.networking.v1',
  'io.k8s.api.node.v1',
  'io.k8s.api.policy.v1',
  'io.k8s.api.rbac.v1',
  'io.k8s.api.scheduling.v1',
  'io.k8s.api.storage.v1',
  'io.k8s.api.admissionregistration.v1',
  'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1',
  'io.k8s.kube-aggregator.pkg.apis.apiregistration.v1',
  'io.k8s.api.admission.v1',
  'io.k8s.api.autoscaling.v1',
  'io.k8s.api.flowcontrol.v1',
  'io.k8s.api.resource.v1',
  'io.k8s.apimachinery.pkg.version',
];

function committedFiles(): string[] {
  return outputFolders
    .map((folder) => join(outputRoot, folder))
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(outputRoot.length + 1));
}

function staleFiles(output: ReadonlyMap<string, string>): string[] {
  const changed = [...output.keys()].filter((file) => {
    const path = join(outputRoot, file);
    return !existsSync(path) || readFileSync(path, 'utf8') !== output.get(file);
  });
  return [...changed, ...committedFiles().filter((file) => !output.has(file))];
}

function write(output: ReadonlyMap<string, string>, stale: readonly string[]): void {
  for (const file of stale) {
    const path = join(outputRoot, file);
    const text = output.get(file);
    if (text === undefined) {
      rmSync(path);
      continue;
    }
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
}

function main(): void {
  if (!sourcePresent()) {
    console.log('skipped: ../shared absent');
    return;
  }
  const output = generate();
  const stale = staleFiles(output);
  if (!process.argv.includes('--check')) {
    write(output, stale);
    console.log(`generated: ${output.size} files, ${stale.length} changed`);
    return;
  }
  if (stale.length === 0) {
    console.log(`fresh: ${output.size} files`);
    return;
  }
  console.log(`stale: ${stale.join(', ')}; run node tools/generate-api/main.ts`);
  process.exitCode = 1;
}

main();
