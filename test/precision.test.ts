/** Which precision a service gets, and why. */
import t from 'tap'
import type { ServeConfig } from '../src/config/config.js'
import { worstLoss } from '../src/manifest/int8-loss.js'
import type { FamilyManifest, Int8Accuracy } from '../src/manifest/manifest.js'
import { choosePrecision } from '../src/serve/precision.js'
import { family } from './engine-rig.js'

type Wanted = Pick<ServeConfig, 'precision' | 'bank' | 'bankDtype' | 'device'>

/** The shipped family with graphs in 8 bits of which this was measured; without them where nothing is given. */
function manifestOf(accuracy?: Int8Accuracy[]): FamilyManifest {
  const { int8: _, ...manifest } = family.manifest
  const graphs = manifest.graphs!.filter(({ weights }) => weights !== 'int8')
  if (!accuracy) return { ...manifest, graphs }
  const coarse = graphs.map((variant) => ({ ...variant, weights: 'int8' }))
  const calibration = ['farm', 'zoo'].map((domain) => ({ domain, images: 10 }))
  const record = { calibration, accuracy, created: '2026-01-01T00:00:00.000Z', tool: 'tests' }
  return { ...manifest, graphs: [...graphs, ...coarse], int8: record }
}

const measured = (domain: string, fp32: number, int8: number) => ({
  domain,
  images: 1000,
  fp32,
  int8,
  differ: 20,
})

function choose(precision: ServeConfig['precision'], manifest: FamilyManifest, more: Partial<Wanted> = {}) {
  const config: Wanted = { precision, bank: 'shared', bankDtype: 'f32', device: { kind: 'cpu' }, ...more }
  return choosePrecision(config, { dir: '/models/tiny', manifest })
}

t.test('fp32 is fp32, and int8 needs its graphs', async (t) => {
  t.same(choose('fp32', manifestOf([])), { precision: 'fp32' })
  t.same(choose('int8', manifestOf([])), { precision: 'int8' })
  t.throws(() => choose('int8', manifestOf()), {
    message:
      /^--precision int8: the family in \/models\/tiny has no graphs in 8 bits\. .*facet family quantize/,
  })
})

t.test(
  'auto takes 8 bits where every domain was measured and none lost more than half a point',
  async (t) => {
    const good = manifestOf([measured('farm', 900, 905), measured('zoo', 900, 895)])
    t.match(choose('auto', good), {
      precision: 'int8',
      reason: /zoo loses most, 0\.50 points.* 0\.5 is allowed/,
    })
    const bad = manifestOf([measured('farm', 900, 894), measured('zoo', 900, 930)])
    t.match(choose('auto', bad), { precision: 'fp32', reason: /farm loses most, 0\.60 points/ })
    const half = manifestOf([measured('farm', 900, 900)])
    t.match(choose('auto', half), { precision: 'fp32', reason: /not measured on every domain/ })
    t.match(choose('auto', manifestOf()), { precision: 'fp32', reason: /has no graphs in 8 bits/ })
    t.match(choose('auto', good, { device: { kind: 'cuda', id: 0 } }), {
      precision: 'fp32',
      reason: /cpu alone/,
    })
  },
)

t.test('the shipped family was measured on all its domains', async (t) => {
  const { int8 } = family.manifest
  t.equal(int8?.accuracy.length, 13)
  t.ok(worstLoss(int8!)!.points <= 0.5)
  t.equal(choose('auto', family.manifest).precision, 'int8')
})
