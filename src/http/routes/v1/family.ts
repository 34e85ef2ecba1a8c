/** What is served: each family, how its trunk runs, and its live memory account; and that of all together. */
import type { FastifyInstance } from 'fastify'
import { unknownFamily } from '../../../errors.js'
import type { AppDeps, ServedFamily } from '../../exchange/deps.js'

export function familyRoutes(
  app: FastifyInstance,
  { families, memory }: Pick<AppDeps, 'families' | 'memory'>,
): void {
  app.get('/family', { config: { scope: 'predict' } }, async () => page(families[0]))

  app.get('/families', { config: { scope: 'predict' } }, async () => {
    const all = memory()
    return {
      families: families.map(summary),
      memory: {
        trunk_bytes: all.trunk,
        adapter_bytes: all.adapters,
        head_bytes: all.heads,
        specialised: all.specialised,
        bank: { used_bytes: all.adapters + all.heads, capacity_bytes: all.capacity },
        dedicated_bytes: all.dedicated,
        saving: all.saving,
      },
    }
  })

  app.get<{ Params: { family: string } }>(
    '/families/:family',
    { config: { scope: 'predict' } },
    async ({ params }) => {
      const family = families.find(({ manifest }) => manifest.name === params.family)
      if (family) return page(family)
      throw unknownFamily(
        params.family,
        families.map(({ manifest }) => manifest.name),
      )
    },
  )
}

function page(family: ServedFamily) {
  const { slots, parameters, files, license, provenance } = family.manifest
  return {
    ...summary(family),
    slots,
    parameters,
    bytes: Object.fromEntries(Object.entries(files).map(([file, entry]) => [file, entry.bytes])),
    license,
    provenance,
  }
}

function summary(family: ServedFamily) {
  const { manifest, execution } = family
  const { name, fingerprint, design, input, features } = manifest
  const { provider, runtime, precision, lanes, maxBatch, bankDtype } = execution
  const { trunk, adapters, heads, specialised, rows, dedicated, saving, note } = family.memory()
  return {
    name,
    fingerprint,
    design,
    input,
    features,
    execution: { provider, runtime, precision, lanes, max_batch: maxBatch, bank_dtype: bankDtype },
    memory: {
      trunk_bytes: trunk,
      adapter_bytes: adapters,
      head_bytes: heads,
      specialised,
      rows,
      dedicated_bytes: dedicated,
      saving,
      note,
    },
  }
}
