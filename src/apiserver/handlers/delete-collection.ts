/** DELETECOLLECTION: every selected object, several at once. */
import { isStatusError } from '#machinery/errors.ts';
import type { ApiResponse } from '../http/request.ts';
import { notOfThisShape, viewOptions } from '../registry/transform.ts';
import type { StoredEndpoint } from '../registry/write-request.ts';
import { writeRequest, type WriteCall } from '../registry/write-call.ts';
import { deleteOptionsObject, readDeleteOptions, warnOfDefault } from './delete.ts';
import { requireRevision } from './get.ts';
import { metadataOfPage, renderList, selectPage } from './list.ts';
import { parseListOptions } from '../registry/verb-options.ts';

/** Maximum of concurrent deletions. The response is the list before deletion. */
const COLLECTION_WORKERS = 16;

/** Deletes one page of the selected objects and returns that page as it was before. */
export async function removeCollection(endpoint: StoredEndpoint, call: WriteCall): Promise<ApiResponse> {
  const { context, core, target } = call;
  const view = viewOptions(context, core.clock.now(), endpoint);
  const options = parseListOptions(endpoint, context.info.query);
  const deletion = await readDeleteOptions(context);
  warnOfDefault(endpoint, deletion, context);
  requireRevision(core, options.resourceVersion);
  const page = await selectPage(endpoint, { core, namespace: target.namespace, options });
  const request = writeRequest(endpoint, call, {
    dryRun: deletion.dryRun,
    options: deleteOptionsObject(deletion),
  });
  const queue = page.entries.values();
  const work = async (): Promise<void> => {
    for (const entry of queue) {
      const { name = '', namespace = '' } = endpoint.cache.parsed.of(entry).metadata ?? {};
      try {
        await core.registry.delete(endpoint, deletion, request.with({ target: { name, namespace } }));
      } catch (error) {
        if (!isStatusError(error, 'NotFound')) throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(COLLECTION_WORKERS, page.entries.length) }, work));
  if (view.accepted.view === 'metadata') throw notOfThisShape(endpoint, 'PartialObjectMetadata');
  return renderList(endpoint, { entries: page.entries, metadata: metadataOfPage(page), view });
}
