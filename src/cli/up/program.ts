/** The program that `up` starts, and the words it is started with. */
import { resolve } from 'node:path';
import type { ApiServerArgs } from '../apiserver-args.ts';

export const PROGRAM = resolve(import.meta.dirname, '../../cmd/all-in-one/run.ts');

export const CHECKOUT = resolve(import.meta.dirname, '../../..');

export function flagWords({ args, flags }: ApiServerArgs): readonly string[] {
  return args.length > 0 ? ['--apiserver-flags', JSON.stringify(flags)] : [];
}
