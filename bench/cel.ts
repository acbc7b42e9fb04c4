/**
 * Expressions in this process, without a server: compiling (text to checked program), evaluating, and what an expression costs that is refused.
 * `node bench/cel.ts [--seconds N]`
 */
import { parseArgs } from 'node:util';
import { compileExpression } from '#cel/compile-expression.ts';

const { values: args } = parseArgs({ options: { seconds: { type: 'string', default: '1' } } });
const runMs = Number(args.seconds) * 1000;

const variables = { object: 'dyn', oldObject: 'dyn' } as const;
const pod = {
  metadata: { name: 'web-1', namespace: 'red', labels: { app: 'web', tier: 'front' } },
  spec: {
    replicas: 3,
    containers: Array.from({ length: 10 }, (_, i) => ({
      name: `c${i}`,
      image: `registry.example.com/team/app-${i}:1.2.3`,
      resources: { limits: { cpu: '500m', memory: '128Mi' } },
    })),
  },
};

const EXPRESSIONS = {
  'a field': 'object.spec.replicas <= 5',
  labels: '["app", "tier"].all(key, key in object.metadata.labels)',
  images: 'object.spec.containers.all(c, c.image.startsWith("registry.example.com/"))',
  pattern: 'object.spec.containers.all(c, c.image.matches("^[a-z.]+/[a-z0-9/-]+:[0-9.]+$"))',
  quantities:
    'object.spec.containers.all(c, quantity(c.resources.limits.memory).isLessThan(quantity("1Gi")))',
  'an update': 'object.spec.replicas >= oldObject.spec.replicas || has(object.metadata.labels.shrinks)',
};

const rows: { what: string; 'per second': number; 'µs each': number }[] = [];

function measure(what: string, run: () => void): void {
  const start = performance.now();
  let count = 0,
    elapsedMs = 0;
  for (; elapsedMs < runMs; elapsedMs = performance.now() - start)
    for (let i = 0; i < 10; i++, count++) run();
  rows.push({
    what,
    'per second': Math.round((count / elapsedMs) * 1000),
    'µs each': Math.round((elapsedMs / count) * 10_000) / 10,
  });
}

for (const [name, source] of Object.entries(EXPRESSIONS)) {
  const expression = compileExpression(source, { variables, result: 'bool' });
  const values = { object: pod, oldObject: pod };
  if (expression.evaluate(values) !== true) throw new Error(`${name} should hold`);
  measure(`compile: ${name}`, () => void compileExpression(source, { variables, result: 'bool' }));
  measure(`evaluate: ${name}`, () => void expression.evaluate(values));
}

measure('refuse: ten syntax errors', () => {
  try {
    compileExpression(`[${'* 1, '.repeat(10)}1]`, { variables });
  } catch {
    return;
  }
  throw new Error('it should be refused');
});
console.table(rows);
