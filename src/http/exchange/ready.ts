import { draining, FacetError } from '../../errors.js'
import type { AppDeps } from './deps.js'

/** @throws FacetError with status 503 where the service takes no work now */
export async function checkReady({
  draining: isDraining,
  readiness,
}: Pick<AppDeps, 'draining' | 'readiness'>): Promise<void> {
  if (isDraining()) throw draining()
  const { ready, reason, code = 'engine_restarting' } = await readiness()
  if (!ready) throw new FacetError(code, reason ?? 'The engine does not answer yet.', { retryAfter: 1 })
}
