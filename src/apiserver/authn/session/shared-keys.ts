/** Keys of session tokens that all API servers share, parsed once for each version of their source. What cannot be used leaves those before in force. */
import { statusErrors } from '#machinery/errors.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';

export interface SharedKeySource {
  /** Undefined: there is none (yet). */
  read(): { readonly text: string; readonly version: string } | undefined;
}

interface SharedKeysOptions<T> {
  readonly source: SharedKeySource;
  readonly parse: (text: string) => T;
  readonly log: Logger;
}

export class SharedKeys<T> {
  readonly #options: SharedKeysOptions<T>;
  #version: string | undefined;
  #value: T | undefined;
  #generation = 0;

  constructor(options: SharedKeysOptions<T>) {
    this.#options = options;
  }

  /** Throws StatusError 503 while there are none. */
  get value(): T {
    this.#look();
    if (!this.#value) throw statusErrors.unavailable('the keys of session tokens are not there yet');
    return this.#value;
  }

  get generation(): number {
    this.#look();
    return this.#generation;
  }

  #look(): void {
    const { source, parse, log } = this.#options;
    const found = source.read();
    if (found?.version === this.#version) return;
    this.#version = found?.version;
    try {
      this.#value = found && parse(found.text);
      this.#generation += 1;
    } catch (error) {
      log.error('the shared keys of session tokens are invalid, keeping the previous ones', {
        error: errorMessage(error),
      });
    }
  }
}
