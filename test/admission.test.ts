/** Bounds on the images and bytes in the service at once, and which requests are refused beyond them. */
import t from 'tap'
import { Admission, type AdmissionOptions } from '../src/predict/admission.js'

const BYTES = 100

function harness(options: Partial<AdmissionOptions> = {}) {
  const refused: string[] = []
  const admission = new Admission({
    maxImages: 10,
    maxImagesOfDomain: 6,
    maxBytes: 10_000,
    refused: (reason) => void refused.push(reason),
    ...options,
  })
  const images = (domain: string, count: number, bytes = BYTES) =>
    Array.from({ length: count }, () => ({ domain, image: new Uint8Array(bytes) }))
  /** A request of these images by a principal. */
  const admitTo = (principal: string, ...wanted: ReturnType<typeof images>[]) => {
    admission.check(wanted.flat(), principal)
    admission.enter(wanted.flat(), principal)
  }
  /** The same by a principal that is named as the domain of the first image. */
  const admit = (...wanted: ReturnType<typeof images>[]) => admitTo(wanted[0]![0]!.domain, ...wanted)
  const leave = (domain: string, bytes: number, principal = domain) =>
    admission.leave(domain, bytes, principal)
  return { admission, refused, images, admit, admitTo, leave }
}

t.test('a full service refuses, and the refusal changes nothing', async (t) => {
  const { admission, refused, images, admit, leave } = harness()
  for (const domain of ['a', 'b']) admit(images(domain, 5))
  const full = { code: 'queue_full', status: 429, retryAfter: 1, message: /has 10 images \(--max-queue\)/ }
  t.throws(() => admit(images('c', 1)), full)
  t.equal(admission.images, 10)
  t.same(refused, ['queue_full'])
  leave('a', BYTES)
  admit(images('c', 1))
  t.equal(admission.images, 10)
})

t.test('a domain with many images leaves room for the others', async (t) => {
  const { refused, images, admit } = harness({ maxImages: 20 })
  admit(images('a', 6))
  const full = { code: 'queue_full', message: /6 images of 'a' \(--max-queue-per-domain\)/ }
  t.throws(() => admit(images('a', 1)), full)
  admit(images('b', 6))
  t.same(refused, ['domain_queue_full'])
})

t.test(
  'a domain may hold no more images than are free, so that a domain without any finds room',
  async (t) => {
    const { images, admit } = harness()
    admit(images('flood', 5))
    t.throws(() => admit(images('flood', 1)), { code: 'queue_full', message: /'flood' \(--max-queue\)/ })
    admit(images('other', 2))
    t.throws(() => admit(images('other', 2)), { code: 'queue_full' })
    admit(images('quiet', 3))
  },
)

t.test('bytes are bounded as images are', async (t) => {
  const { admission, refused, images, admit, leave } = harness()
  admit(images('large', 2, 4000))
  t.throws(() => admit(images('large', 1, 1000)), {
    code: 'queue_full',
    message: /its images of 'large' have 8000 bytes \(--max-bodies\)/,
  })
  admit(images('small', 2, 1000))
  t.throws(() => admit(images('quiet', 1)), {
    code: 'queue_full',
    message: /its images have 10000 bytes \(--max-bodies\)/,
  })
  t.same(refused, ['domain_queue_full', 'queue_full'])
  leave('large', 4000)
  t.equal(admission.bytes, 6000)
  admit(images('quiet', 1))
})

t.test('a request is admitted whole or not at all', async (t) => {
  const { admission, images, admit } = harness({ maxImages: 20 })
  admit(images('a', 4))
  t.throws(() => admit(images('b', 1), images('a', 3)), { code: 'queue_full' })
  t.equal(admission.images, 4)
  admit(images('b', 1), images('a', 2))
  t.equal(admission.images, 7)
})

t.test('a request that could never be admitted is refused without Retry-After', async (t) => {
  const { refused, images, admit } = harness()
  t.throws(() => admit(images('a', 6), images('b', 5)), {
    code: 'too_many_parts',
    status: 413,
    retryAfter: undefined,
    message: /11 images at once; the service takes 10 \(--max-queue\)/,
  })
  t.throws(() => admit(images('a', 7)), {
    code: 'too_many_parts',
    message: /7 images of 'a' at once; the service takes 6 \(--max-queue-per-domain\)/,
  })
  t.same(refused, ['too_many_parts', 'too_many_parts'])
})

t.test('Retry-After follows what is known of the speed', async (t) => {
  const { images, admit, admitTo } = harness({ secondsFor: (count) => 2 * count })
  admit(images('a', 6), images('b', 2))
  const full = (retryAfter: number) => ({ code: 'queue_full', retryAfter })
  t.throws(() => admit(images('c', 3)), full(16), 'eight images')
  t.throws(() => admitTo('a', images('b', 1)), full(8), 'while one of b leaves, one of a does')
})

t.test('nothing stays behind when all have left', async (t) => {
  const { admission, images, admit, leave } = harness()
  admit(images('a', 3), images('b', 2, 7))
  for (let n = 0; n < 3; n++) leave('a', BYTES)
  for (let n = 0; n < 2; n++) leave('b', 7, 'a')
  t.equal(admission.images, 0)
  t.equal(admission.bytes, 0)
  admit(images('a', 6))
})

t.test(
  'a principal with many domains leaves room for the others, and for its own quiet domains',
  async (t) => {
    for (const [domains, ofEach] of [
      [50, 1],
      [4, 20],
    ] as const) {
      const { admission, refused, images, admitTo } = harness({ maxImages: 100, maxImagesOfDomain: 40 })
      for (let round = 0; round < ofEach; round++) {
        for (let n = 0; n < domains; n++) {
          try {
            admitTo('many', images(`domain-${n}`, 1))
          } catch {}
        }
      }
      if (ofEach > 1) t.ok(refused.length > 0, 'the flood is refused in part')
      admitTo('many', images('quiet', 2))
      t.ok(admission.images <= 82)
      admitTo('other', images('other', 10))
    }
    const { images, admitTo } = harness({ maxImages: 100, maxImagesOfDomain: 100 })
    const full = { code: 'queue_full', message: /it has \d+ images of this caller \(--max-queue\)/ }
    t.throws(() => {
      for (let n = 0; n < 100; n++) admitTo('many', images(`domain-${n}`, 1))
    }, full)
    admitTo('other', images('other', 10))
  },
)

t.test('a principal that floods a domain leaves room in it for others', async (t) => {
  for (const options of [
    { maxImages: 1000, maxImagesOfDomain: 100 },
    { maxImages: 100, maxImagesOfDomain: 100 },
  ]) {
    const { refused, images, admitTo } = harness(options)
    for (let n = 0; n < 200; n++) {
      try {
        admitTo('flood', images('popular', 1))
      } catch {}
    }
    t.ok(refused.length > 100)
    t.equal(refused.at(-1), 'domain_queue_full')
    admitTo('other', images('popular', 20))
  }
})

t.test('bytes are bounded for a principal too, over all its domains', async (t) => {
  const { admission, refused, images, admitTo, leave } = harness()
  admitTo('many', images('a', 1, 4000))
  admitTo('many', images('b', 1, 4200))
  t.throws(() => admitTo('many', images('c', 1, 1000)), {
    code: 'queue_full',
    message: /its images of this caller have 8200 bytes \(--max-bodies\)/,
  })
  t.equal(refused.at(-1), 'principal_queue_full')
  admitTo('other', images('c', 1, 1000))
  leave('a', 4000, 'many')
  leave('b', 4200, 'many')
  leave('c', 1000, 'other')
  t.equal(admission.bytes, 0)
})
