/**
 * A wrong wall clock for some processes, by Debian's libfaketime: what they read from libc is moved, CLOCK_MONOTONIC and everybody else's time are not, as after a
 * step by NTP. A time namespace does not move the wall clock. Node takes all times from libc, OpenSSL's too; etcd is a static Go program and is not moved.
 */
import { existsSync, globSync } from 'node:fs';

class Faketime {
  readonly #library = globSync('/usr/lib/*/faketime/libfaketimeMT.so.1')[0] ?? '';

  get obstacle(): string | undefined {
    return existsSync(this.#library) ? undefined : 'the Debian package libfaketime is not installed';
  }

  environment(seconds: number): NodeJS.ProcessEnv {
    return {
      LD_PRELOAD: this.#library,
      FAKETIME: `${seconds < 0 ? '' : '+'}${seconds}s`,
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      FAKETIME_DISABLE_SHM: '1',
    };
  }
}

export const FAKETIME = new Faketime();
