// Moves a fresh ring as far as if many messages had gone through it already, so that a test can see its
// 32-bit indices wrap without pushing four thousand million messages first. Both ends keep their index
// private, for good reason; a template argument may name a private member in an explicit instantiation, and
// that is how a test gets there.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ipc/ring.h"

namespace tpb::testing {

template <typename Tag, auto kMember>
struct Reveal {
  friend typename Tag::Type Member(Tag) { return kMember; }
};

struct ProducerTail {
  using Type = std::uint32_t ipc::RingProducer::*;
  friend Type Member(ProducerTail);
};
struct ProducerHeadSeen {
  using Type = std::uint32_t ipc::RingProducer::*;
  friend Type Member(ProducerHeadSeen);
};
struct ConsumerHead {
  using Type = std::uint32_t ipc::RingConsumer::*;
  friend Type Member(ConsumerHead);
};
template struct Reveal<ProducerTail, &ipc::RingProducer::tail_>;
template struct Reveal<ProducerHeadSeen, &ipc::RingProducer::head_seen_>;
template struct Reveal<ConsumerHead, &ipc::RingConsumer::head_>;

// Call it before the first message.
inline void StartAt(std::byte* ring, ipc::RingProducer& producer, ipc::RingConsumer& consumer,
                    std::uint32_t position) {
  auto& control = *reinterpret_cast<ipc::RingControl*>(ring);
  producer.*Member(ProducerTail{}) = position;
  producer.*Member(ProducerHeadSeen{}) = position;
  consumer.*Member(ConsumerHead{}) = position;
  control.producer.tail.store(position);
  control.consumer.head.store(position);
}

}  // namespace tpb::testing
