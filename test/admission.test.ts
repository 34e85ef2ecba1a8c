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
  /** A request of these images. */
  const admit = (...wanted: ReturnType<typeof images>[]) => {
    admission.check(wanted.flat())
    admission.enter(wanted.flat())
  }
  return { admission, refused, images, admit }
}

t.test('a full service refuses, and the refusal changes nothing', async (t) => {
  const { admission, refused, images, admit } = harness()
  for (const domain of ['a', 'b']) admit(images(domain, 5))
  const full = { code: 'queue_full', status: 429, retryAfter: 1, message: /has 10 images \(--max-queue\)/ }
  t.throws(() => admit(images('c', 1)), full)
  t.equal(admission.images, 10)
  t.same(refused, ['queue_full'])
  admission.leave('a', BYTES)
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
  const { admission, refused, images, admit } = harness()
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
  admission.leave('large', 4000)
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
  const { images, admit } = harness({ secondsFor: (count) => 2 * count })
  admit(images('a', 6), images('b', 2))
  const full = (retryAfter: number) => ({ code: 'queue_full', retryAfter })
  t.throws(() => admit(images('c', 3)), full(16), 'eight images')
  t.throws(() => admit(images('b', 1)), full(8), 'while one of b leaves, one of a does')
})

t.test('nothing stays behind when all have left', async (t) => {
  const { admission, images, admit } = harness()
  admit(images('a', 3), images('b', 2, 7))
  for (let n = 0; n < 3; n++) admission.leave('a', BYTES)
  for (let n = 0; n < 2; n++) admission.leave('b', 7)
  t.equal(admission.images, 0)
  t.equal(admission.bytes, 0)
  admit(images('a', 6))
})
