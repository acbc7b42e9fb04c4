/** What the files of functions share. */
import { EvaluationError } from '../errors.ts';
import type { FunctionEntry, OpaqueType } from '../functions.ts';

/** Adds a function: see functions.ts. */
export type Add = (signature: string, entry: FunctionEntry) => void;

/** The type of the values of a class. */
export const opaque = (name: string, ctor: new (...args: never[]) => unknown): OpaqueType => ({
  name,
  is: (value) => value instanceof ctor,
});

export function fail(message: string): never {
  throw new EvaluationError(message);
}
