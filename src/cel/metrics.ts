/** How long expressions take, of all that this server compiles and evaluates: one pair of figures, as upstream has them. */
import { Histogram } from '#stdx/instruments.ts';

/** Upstream's buckets: expressions are expected to be fast. */
const BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

const compilation = new Histogram('apiserver_cel_compilation_duration_seconds', {
  help: 'Time expressions took to compile.',
  bounds: BOUNDS,
});
const evaluation = new Histogram('apiserver_cel_evaluation_duration_seconds', {
  help: 'Time expressions took to evaluate.',
  bounds: BOUNDS,
});

export const compileSeconds = compilation.of('');
export const evaluateSeconds = evaluation.of('');

export function celMetrics(): string {
  return [...compilation.render(), ...evaluation.render()].join('\n');
}
