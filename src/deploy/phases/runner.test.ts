import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { UserError } from '../data-dir.ts';
import { machinePaths } from '../machine/paths.ts';
import { machineFile } from '../machine/record.ts';
import type { Phase, PhaseContext, Workflow } from './phase.ts';
import { allPhases, isDone, runPhase, runWorkflow, undoWorkflow } from './runner.ts';

const rootfs = mkdtempSync(join(tmpdir(), 'capstan-runner-'));
after(() => rmSync(rootfs, { recursive: true }));
const paths = machinePaths({ rootfs });
const machine = machineFile(paths);
let did: string[] = [];
beforeEach(() => {
  did = [];
  machine.remove();
});

function context(dryRun = false): PhaseContext {
  return { paths, machine, dryRun, print: () => {} };
}

const phase = (name: string, more: Partial<Phase> = {}): Phase => ({
  name,
  short: name,
  async run() {
    did.push(name);
  },
  async undo() {
    did.push(`-${name}`);
  },
  ...more,
});

const WORKFLOW: Workflow = {
  name: 'init',
  phases: [
    phase('preflight'),
    { name: 'certs', short: 'certs', phases: [phase('certs/ca'), phase('certs/apiserver')] },
    phase('etcd'),
  ],
};

test('all phases in order, recorded', async () => {
  assert.equal(allPhases(WORKFLOW.phases).length, 5);
  await runWorkflow(WORKFLOW, context());
  assert.deepEqual(did, ['preflight', 'certs/ca', 'certs/apiserver', 'etcd']);
  assert.deepEqual(machine.read().phases, {
    init: ['preflight', 'certs/ca', 'certs/apiserver', 'certs', 'etcd'],
  });
  assert.ok(isDone(WORKFLOW, 'certs', { machine }));
});

test('skipped ones are not run, nor their parts, nor recorded', async () => {
  await runWorkflow(WORKFLOW, context(), { skip: ['certs', 'etcd'] });
  assert.deepEqual(did, ['preflight']);
  assert.equal(isDone(WORKFLOW, 'certs', { machine }), false);
  did = [];
  await runWorkflow(WORKFLOW, context(), { skip: ['certs/ca'] });
  assert.deepEqual(did, ['preflight', 'certs/apiserver', 'etcd']);
  await assert.rejects(
    runWorkflow(WORKFLOW, context(), { skip: ['cert'] }),
    /invalid phase name: cert; init has preflight, certs, certs\/ca, certs\/apiserver, etcd/,
  );
});

test('one phase, one part', async () => {
  await runPhase(WORKFLOW, 'certs', context());
  await runPhase(WORKFLOW, 'certs/ca', context());
  assert.deepEqual(did, ['certs/ca', 'certs/apiserver', 'certs/ca']);
});

test('a failure names its phase, is not recorded, and ends the run', async () => {
  const failing: Workflow = {
    name: 'init',
    phases: [
      phase('one', {
        run: () => Promise.reject(new UserError('the disk is full')),
      }),
      phase('two'),
    ],
  };
  await assert.rejects(runWorkflow(failing, context()), /error execution phase one: the disk is full/);
  assert.deepEqual(did, []);
  assert.equal(isDone(failing, 'one', { machine }), false);
});

test('a dry run records nothing', async () => {
  await runWorkflow(WORKFLOW, context(true));
  assert.equal(did.length, 4);
  assert.equal(machine.exists(), false);
});

test('undone in reverse, and no longer recorded', async () => {
  await runWorkflow(WORKFLOW, context());
  did = [];
  await undoWorkflow(WORKFLOW, context());
  assert.deepEqual(did, ['-etcd', '-certs/apiserver', '-certs/ca', '-preflight']);
  assert.deepEqual(machine.read().phases, { init: ['certs'] });
});
