/**
 * A second version of Capstan for the tests of upgrades: this checkout, copied outside of its tree, as the next minor version of Kubernetes, with one more
 * alpha group (trial.capstan.dev). Which storage versions change follows from that number, by resources/lifecycle.ts.
 */
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { BINARY_VERSION } from '#machinery/effective-version.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const FILES = ['capstan', 'package.json', 'package-lock.json', 'tsconfig.json', 'src'];
const TRIAL = { group: 'trial.capstan.dev', version: 'v1alpha1', kind: 'Trial', plural: 'trials' };
const PACKAGE = 'io.k8s.api.trial.v1alpha1';
/** Of the new program; ours is smaller. */
const NEXT_CAPSTAN = '0.2.0';

export interface SecondVersion {
  readonly dir: string;
  /** 'v1.37.0+capstan.0.2.0' */
  readonly version: string;
  /** '1.37' */
  readonly minor: string;
  /** Its src/cli/main.ts. */
  readonly main: string;
  remove(): void;
}

export function buildSecondVersion(): SecondVersion {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-next-'));
  for (const file of FILES) cpSync(join(ROOT, file), join(dir, file), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(dir, 'node_modules'));
  const minor = `${BINARY_VERSION.major}.${BINARY_VERSION.minor + 1}`;
  const edit = (path: string, [from, to]: readonly [from: string | RegExp, to: string]): void => {
    const text = readFileSync(join(dir, path), 'utf8');
    const changed = text.replace(from, () => to);
    if (changed === text) throw new Error(`${path} has nothing like ${from}`);
    writeFileSync(join(dir, path), changed);
  };
  edit('src/machinery/effective-version.ts', [
    /KUBERNETES_RELEASE = '[^']*'/,
    `KUBERNETES_RELEASE = '${minor}.0'`,
  ]);
  edit('src/cmd/version.ts', [/CAPSTAN_VERSION = '[^']*'/, `CAPSTAN_VERSION = '${NEXT_CAPSTAN}'`]);
  edit('src/resources/lifecycle.ts', ['= {\n', `= {\n  '${TRIAL.group}/${TRIAL.version}': '${minor}',\n`]);
  addTrial(dir, edit);
  return {
    dir,
    version: `v${minor}.0+capstan.${NEXT_CAPSTAN}`,
    minor,
    main: join(dir, 'src/cli/main.ts'),
    remove: () => rmSync(dir, { recursive: true, force: true }),
  };
}

/** Its discovery, its schema, its record. */
function addTrial(
  dir: string,
  edit: (path: string, change: readonly [from: string | RegExp, to: string]) => void,
): void {
  const { group, version, kind, plural } = TRIAL;
  editJson<{ groups: object[]; resources: object[] }>(dir, 'resources.json', ({ groups, resources }) => {
    groups.push({ name: group, preferredVersion: version, versions: [version] });
    resources.push({
      group,
      version,
      plural,
      singular: 'trial',
      kind,
      namespaced: false,
      verbs: ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'],
      storageVersionHash: createHash('sha256')
        .update(`${group}/${version}/${kind}`)
        .digest()
        .subarray(0, 8)
        .toString('base64'),
    });
  });
  const meta = 'io.k8s.apimachinery.pkg.apis.meta.v1';
  const head = [
    ['apiVersion', 'string', 0, 'o'],
    ['kind', 'string', 0, 'o'],
  ];
  editJson<Record<string, object>>(dir, 'schemas.json', (schemas) => {
    schemas[PACKAGE] = {
      Trial: {
        f: [...head, ['metadata', `${meta}.ObjectMeta`, 1, 'z'], ['note', 'string', 2, '']],
        g: [`${group}/${version}/Trial`],
      },
      TrialList: {
        f: [...head, ['metadata', `${meta}.ListMeta`, 1, 'z'], ['items', 'list:Trial', 2, 'r']],
        g: [`${group}/${version}/TrialList`],
      },
    };
  });
  writeFileSync(
    join(dir, 'src/resources/node/trials.ts'),
    `import { defineResource } from '../define.ts';\nexport const trials = defineResource({ group: '${group}', plural: '${plural}' });\n`,
  );
  edit('src/resources/registry.ts', [
    "import { runtimeclasses } from './node/runtimeclasses.ts';",
    "import { runtimeclasses } from './node/runtimeclasses.ts';\nimport { trials } from './node/trials.ts';",
  ]);
  edit('src/resources/registry.ts', ['\n  runtimeclasses,\n', '\n  runtimeclasses,\n  trials,\n']);
}

function editJson<T>(dir: string, name: string, change: (table: T) => void): void {
  const path = join(dir, 'src/api/generated', name);
  const table = JSON.parse(readFileSync(path, 'utf8')) as T;
  change(table);
  writeFileSync(path, JSON.stringify(table));
}
