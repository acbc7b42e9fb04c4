/** Problems of fields in a configuration file, in the words of upstream's field errors; the first one ends the program's start. */
import { UserError } from '#deploy/data-dir.ts';

export class FieldProblems {
  readonly #path: string;
  readonly #found: string[];

  constructor(path: string, found: string[] = []) {
    this.#path = path;
    this.#found = found;
  }

  /** For a part of it; its problems are found here too. */
  at(field: string): FieldProblems {
    return new FieldProblems(this.#join(field), this.#found);
  }

  /** 'field: Required value: …' */
  add(text: string): void {
    this.#found.push(this.#join(text));
  }

  invalid(field: string, value: unknown, why: string): void {
    this.add(`${field}: Invalid value: ${JSON.stringify(value)}: ${why}`);
  }

  notSupported(field: string, value: string, supported: readonly string[]): void {
    const values = supported.map((one) => JSON.stringify(one)).join(', ');
    this.add(`${field}: Unsupported value: ${JSON.stringify(value)}: supported values: ${values}`);
  }

  range(field: string, value: number, most: number): void {
    if (value < 0 || value > most) this.invalid(field, value, `not in valid range [0, ${most}]`);
  }

  /** Throws a UserError. */
  throwFirst(): void {
    const first = this.#found[0];
    if (first !== undefined) throw new UserError(`--config: ${first}.`);
  }

  #join(text: string): string {
    if (text.startsWith('[')) return `${this.#path}${text}`;
    return /^[A-Z]/.test(text) ? `${this.#path}: ${text}` : `${this.#path}.${text}`;
  }
}
