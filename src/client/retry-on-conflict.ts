/** A read, a change and a write, done again while somebody else writes the object in between. */
import { isStatusError } from '#machinery/errors.ts';

/** attempts: in all. Rejects with the last Conflict, and with any other error at once. */
export async function retryOnConflict<T>(attempts: number, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (!isStatusError(error, 'Conflict') || attempt >= attempts) throw error;
    }
  }
}
