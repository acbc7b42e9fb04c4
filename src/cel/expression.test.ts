import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileExpression, makeCompiler, type CelExtension } from './expression.ts';

class Gate {
  readonly open: boolean;
  constructor(open: boolean) {
    this.open = open;
  }
}

const GATE: CelExtension = {
  typeName: 'example.Gate',
  types: [{ name: 'example.Gate', is: (value) => value instanceof Gate }],
  functions: { 'example.Gate.isOpen(): bool': ({ open }: Gate) => open },
  valueOf: (open) => new Gate(open === true),
};

test('a compiler has the types of its extensions, others do not', () => {
  const variables = { gate: 'gate', limit: 'int' } as const;
  const expression = makeCompiler({ gate: GATE })('gate.isOpen() && limit > 2', {
    variables,
    result: 'bool',
  });
  assert.equal(expression.evaluate({ gate: true, limit: 3 }), true);
  assert.equal(expression.evaluate({ gate: false, limit: 3 }), false);
  assert.throws(
    () => compileExpression('authorizer', { variables: { limit: 'int' } }),
    /undeclared reference/,
  );
  assert.throws(() => compileExpression('gate.isOpen()', { variables: { gate: 'dyn' } }), /isOpen/);
});
