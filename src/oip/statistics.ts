/** The statistics extension: what models were asked, as its clients read it. */
import type { DomainStatistics, Total, VersionStatistics } from '../predict/statistics.js'
import { type ModelName, modelName } from './model.js'

const NS_PER_MS = 1e6

/**
 * Of one version of a model. Both models of a domain have the same: their images run together.
 *
 * @param of what its domain was asked; undefined where it was asked nothing
 * @param isActive failed requests are counted with the active version
 */
export function statisticsOf(
  model: ModelName,
  version: string,
  of: DomainStatistics | undefined,
  isActive: boolean,
) {
  const own: VersionStatistics | undefined = of?.versions.get(version)
  return {
    name: modelName(model),
    version,
    last_inference: own?.last ?? 0,
    inference_count: own?.images ?? 0,
    execution_count: own?.runs ?? 0,
    inference_stats: {
      success: duration(own?.success),
      fail: duration(isActive ? of?.failed : undefined),
      queue: duration(own?.queue),
      compute_input: duration(own?.decode),
      compute_infer: duration(own?.inference),
    },
  }
}

function duration(total: Total | undefined): { count: number; ns: number } {
  return { count: total?.count ?? 0, ns: Math.round((total?.ms ?? 0) * NS_PER_MS) }
}
