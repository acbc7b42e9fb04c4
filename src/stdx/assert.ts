/** Programming errors, checked in production too: `assert(x !== undefined, 'what should hold')`. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`);
}
