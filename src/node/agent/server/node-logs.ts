/**
 * /logs/: the machine's /var/log, as upstream's kubelet serves it: folders as pages of links, files unchanged. Permission (nodes/log): access.ts. Links
 * that lead out of the folder are not followed: pods may write there by hostPath.
 */
import { createReadStream } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';

export const NODE_LOGS_DIR = '/var/log';

/** Why a query is refused, in upstream's words; undefined: it is not. */
export function nodeLogQueryProblem(query: URLSearchParams): string | undefined {
  const given = query.getAll('query');
  return given.length > 0 && given.every((text) => text.trim() === '')
    ? `query: Invalid value: ${JSON.stringify(given)}: query cannot be empty`
    : undefined;
}

/** path: decoded, below root. Returns false where nothing of that name may be shown, without having written anything. */
export async function writeNodeLogs(
  response: ServerResponse,
  { root, path }: { readonly root: string; readonly path: string },
): Promise<boolean> {
  const found = await insideOf(root, path);
  const facts = found === undefined ? undefined : await stat(found);
  if (found === undefined || !facts || !(facts.isFile() || facts.isDirectory())) return false;
  if (facts.isDirectory())
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(await listing(found));
  else
    await pipeline(
      createReadStream(found),
      response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' }),
    );
  return true;
}

/** The real path; undefined if it does not exist or is outside the folder. */
async function insideOf(root: string, path: string): Promise<string | undefined> {
  if (path.includes('\0')) return undefined;
  const [top, found] = await Promise.all([realpath(root), realpath(join(root, join('/', path)))]).catch(
    () => [],
  );
  return top !== undefined && found !== undefined && (found === top || found.startsWith(`${top}${sep}`))
    ? found
    : undefined;
}

async function listing(folder: string): Promise<string> {
  const entries = await readdir(folder, { withFileTypes: true });
  const names = entries.map((entry) => `${entry.name}${entry.isDirectory() ? '/' : ''}`).toSorted();
  return `<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n${names.map((name) => `<a href="${encodeURIComponent(name).replaceAll('%2F', '/')}">${escapeHtml(name)}</a>\n`).join('')}</pre>\n`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
