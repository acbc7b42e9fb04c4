/** The thread that reads large YAML bodies for the API server: texts in, JSON texts out. See yaml-reader.ts. */
import { parentPort } from 'node:worker_threads';
import { isStatusError } from '#machinery/errors.ts';
import { requireFewValues } from '#machinery/json.ts';
import { parseYamlBody } from '#machinery/yaml.ts';

/** json and problems, or why it is refused: with 413 for too many values, else with 400. */
export type YamlAnswer =
  | { readonly json: string; readonly problems: readonly string[] }
  | { readonly refused: string; readonly tooLarge: boolean };

parentPort?.on('message', (text: string) => parentPort!.postMessage(answer(text)));

function answer(text: string): YamlAnswer {
  try {
    const { value, problems } = parseYamlBody(text);
    requireFewValues(value);
    return { json: JSON.stringify(value), problems };
  } catch (error) {
    if (!isStatusError(error)) throw error;
    return { refused: error.message, tooLarge: error.code === 413 };
  }
}
