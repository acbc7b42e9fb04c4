/**
 * Field paths and the list of validation errors. A Path is one small node per level, rendered to text only when an
 * error occurs, so that valid objects cost almost nothing.
 */
import { fieldErrors, OMITTED, type FieldError } from '#machinery/errors.ts';

export class Path {
  readonly #parent: Path | undefined;
  readonly #step: string | number;
  readonly #kind: 'field' | 'index' | 'key';

  private constructor(parent: Path | undefined, step: string | number, kind: 'field' | 'index' | 'key') {
    this.#parent = parent;
    this.#step = step;
    this.#kind = kind;
  }

  static root(name: string): Path {
    return new Path(undefined, name, 'field');
  }

  /** spec → spec.name */
  child(name: string): Path {
    return new Path(this, name, 'field');
  }

  /** ports → ports[0] */
  index(position: number): Path {
    return new Path(this, position, 'index');
  }

  /** limits → limits[cpu] */
  key(name: string): Path {
    return new Path(this, name, 'key');
  }

  toString(): string {
    const before = this.#parent === undefined ? '' : this.#parent.toString();
    if (this.#kind !== 'field') return `${before}[${this.#step}]`;
    return before === '' ? String(this.#step) : `${before}.${this.#step}`;
  }
}

export const METADATA = Path.root('metadata');
export const SPEC = Path.root('spec');
export const STATUS = Path.root('status');

/** Collects field errors; one method per kind of error, after apimachinery's field package. */
export class Errors {
  readonly list: FieldError[] = [];

  get any(): boolean {
    return this.list.length > 0;
  }

  add(errors: readonly FieldError[]): void {
    for (const error of errors) this.list.push(error);
  }

  required(path: Path, detail = ''): void {
    this.list.push(fieldErrors.required(path.toString(), detail));
  }

  invalid(path: Path, badValue: unknown, detail: string): void {
    this.list.push(fieldErrors.invalid(path.toString(), badValue, detail));
  }

  /** 'Invalid value' without the value. */
  omitted(path: Path, detail: string): void {
    this.invalid(path, OMITTED, detail);
  }

  /** One 'Invalid value' per message, as returned by the name checks of machinery. */
  invalidEach(path: Path, badValue: unknown, details: readonly string[]): void {
    for (const detail of details) this.invalid(path, badValue, detail);
  }

  duplicate(path: Path, badValue: unknown): void {
    this.list.push(fieldErrors.duplicate(path.toString(), badValue));
  }

  notFound(path: Path, badValue: unknown): void {
    this.list.push(fieldErrors.notFound(path.toString(), badValue));
  }

  forbidden(path: Path, detail: string): void {
    this.list.push(fieldErrors.forbidden(path.toString(), detail));
  }

  /** valid: in upstream's order, which is not always alphabetical. */
  notSupported(path: Path, badValue: unknown, valid: readonly string[]): void {
    this.list.push(fieldErrors.notSupported(path.toString(), badValue ?? '', valid));
  }

  tooLong(path: Path, maxLength: number): void {
    this.list.push(fieldErrors.tooLong(path.toString(), maxLength));
  }

  tooMany(path: Path, actual: number, maximum: number): void {
    this.list.push(fieldErrors.tooMany(path.toString(), actual, maximum));
  }
}
