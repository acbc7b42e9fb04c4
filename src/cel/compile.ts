/** From the text of an expression to its checked tree and its program. */
import { check, type Scope } from './checker.ts';
import type { Node } from './ast.ts';
import { compileError, requireReadable, SyntaxErrors } from './errors.ts';
import { checkLiterals } from './literals.ts';
import type { Allowed } from './macros.ts';
import { parse } from './parser.ts';
import { makeProgram, type Program } from './program.ts';

interface Compiled {
  readonly root: Node;
  readonly program: Program;
}

/** Throws CelCompileError. */
export function compileSource(source: string, { binds = false, ...scope }: Scope & Allowed): Compiled {
  requireReadable(source);
  const root = parsed(source, { binds });
  for (const find of [() => check(root, scope), () => checkLiterals(root)]) {
    const issues = find();
    if (issues.length > 0) throw compileError(issues, source);
  }
  return { root, program: makeProgram(root, source) };
}

function parsed(source: string, allowed: Allowed): Node {
  try {
    return parse(source, allowed);
  } catch (error) {
    if (!(error instanceof SyntaxErrors)) throw error;
    throw compileError(error.issues, source);
  }
}
